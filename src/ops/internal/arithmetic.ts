/** The ops that the tape computes with. The tape is below them and cannot import them. */
import type { Arithmetic } from '../../autograd/tape.ts';
import { accumulate } from './accumulate.ts';
import { clone, reshape } from '../copy.ts';
import { sumTo } from '../sum.ts';

export const arithmetic: Arithmetic = { accumulate, sumTo, clone, reshape };
