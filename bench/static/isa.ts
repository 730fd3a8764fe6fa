/** AMD's machine code as LLVM's disassembler prints it, under the names of RDNA3 whatever the generation. */

export interface Instruction {
  /** Without the suffix that names its encoding: `v_add_f32`, not `v_add_f32_e32`. */
  readonly name: string;
  /** Without `off`, which stands for an address that is not there. */
  readonly operands: readonly string[];
  /** `offset:16` as `offset` → `16`; a bare word such as `offen` as itself → ``. */
  readonly modifiers: ReadonlyMap<string, string>;
  /** The second half of a pair that is issued as one. */
  readonly pair?: Instruction;
}

/** A run of instructions that ends before a label or after a branch. */
export interface Block {
  readonly name: string;
  readonly code: readonly Instruction[];
  /** Blocks that may follow it, by index. */
  readonly next: readonly number[];
}

export function parseProgram(text: string): Block[] {
  const blocks: { name: string; code: Instruction[]; next: number[] }[] = [{ name: 'BB', code: [], next: [] }];
  const begin = (name: string): void => {
    // nothing lies between a branch and a label
    if (blocks.at(-1)?.code.length === 0 && !/\d$/.test(blocks.at(-1)!.name)) blocks.pop();
    blocks.push({ name, code: [], next: [] });
  };
  for (const line of text.split('\n')) {
    const label = /^(BB\d+):/.exec(line);
    const repeated = /\(then repeated (\d+) times\)/.exec(line);
    const { code, name } = blocks.at(-1)!;
    if (label) begin(label[1]);
    else if (repeated) code.push(...Array<Instruction>(Number(repeated[1])).fill(code.at(-1)!));
    else if (/^\s+\w/.test(line)) {
      const instruction = parseInstruction(line);
      code.push(instruction);
      if (isBranch(instruction)) begin(`${name}+`);
    }
  }
  const index = new Map(blocks.map(({ name }, i) => [name, i]));
  blocks.forEach(({ code, next }, i) => {
    const last = code.at(-1);
    if (last && isBranch(last)) next.push(index.get(last.operands[0])!);
    if (last?.name !== 's_branch' && last?.name !== 's_endpgm' && i + 1 < blocks.length) next.push(i + 1);
  });
  return blocks;
}

function isBranch({ name }: Instruction): boolean {
  return name === 's_branch' || name.startsWith('s_cbranch_');
}

export function parseInstruction(line: string): Instruction {
  const [first, second] = line.replace(/;.*$/, '').split('::');
  const one = parseHalf(first.trim());
  return second === undefined ? one : { ...one, pair: parseHalf(second.trim()) };
}

const MODIFIER =
  /(?<=[\s,])(?:(\w+):(\[[^\]]*\]|[-\w]+(?:\([^)]*\))?)|(offen|idxen|clamp|glc|slc|dlc|gds|scc|lds))(?=\s|$)/g;

function parseHalf(text: string): Instruction {
  const space = text.search(/\s|$/);
  const modifiers = new Map<string, string>();
  const rest = text.slice(space).replace(MODIFIER, (_, key: string | undefined, value: string, bare: string) => {
    modifiers.set(key ?? bare, value ?? '');
    return '';
  });
  const operands = rest.split(',').map((operand) => operand.trim());
  return {
    name: usualName(text.slice(0, space)),
    operands: operands.filter((operand) => operand !== '' && operand !== 'off'),
    modifiers,
  };
}

/** Older generations' names, and what RDNA3 calls them. */
const RENAMED: readonly (readonly [RegExp, string])[] = [
  [/_(e32|e64|sdwa|dpp|e64_dpp)$/, ''],
  [/^v_dual_/, 'v_'],
  [/^s_andn2_/, 's_and_not1_'],
  [/^s_orn2_/, 's_or_not1_'],
  [/_dwordx(\d+)$/, '_x$1'],
  [/_dword$/, '_b32'],
  [/_x2$/, '_b64'],
  [/_x3$/, '_b96'],
  [/_x4$/, '_b128'],
  [/_x8$/, '_b256'],
  [/_x16$/, '_b512'],
  [/^(buffer|global)_(load|store)_(u?)byte/, '$1_$2_$38'],
  [/^(buffer|global)_(load|store)_(u?)short/, '$1_$2_$316'],
  [/^(buffer_store|global_store)_(8|16)$/, '$1_b$2'],
  [/^ds_read/, 'ds_load'],
  [/^ds_write/, 'ds_store'],
  [/^(ds_load|ds_store)2st64_/, '$1_2addr_stride64_'],
  [/^(ds_load|ds_store)2_/, '$1_2addr_'],
  [/^v_(add|sub|subrev)_u32$/, 'v_$1_nc_u32'],
  [/^v_mac_/, 'v_fmac_'],
  [/^v_mad_(f32|f16)$/, 'v_fma_$1'],
  [/^v_mad_mix/, 'v_fma_mix'],
  [/^v_madak_/, 'v_fmaak_'],
  [/^v_madmk_/, 'v_fmamk_'],
  [/^v_cvt_pkrtz_/, 'v_cvt_pk_rtz_'],
];

function usualName(name: string): string {
  return RENAMED.reduce((known, [old, now]) => known.replace(old, now), name);
}
