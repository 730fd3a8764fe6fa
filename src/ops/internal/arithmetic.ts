/** What the tape computes with: the ops below which it lies. */
import type { Arithmetic } from '../../autograd/tape.ts';
import { accumulate } from './accumulate.ts';
import { clone, reshape } from '../copy.ts';
import { sumTo } from '../sum.ts';

export const arithmetic: Arithmetic = { accumulate, sumTo, clone, reshape };
