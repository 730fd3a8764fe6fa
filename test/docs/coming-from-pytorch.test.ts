/** docs/coming-from-pytorch.md names every argument of the functions that it translates, and only options that exist. */
import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import ts from 'typescript';
import { expect, test } from 'vitest';
import * as surface from '../../src/index.ts';

const ROOT = new URL('../../', import.meta.url);
const page = readFileSync(new URL('docs/coming-from-pytorch.md', ROOT), 'utf8');

/** From `inspect.signature` of PyTorch 2.13, and from flash-attn 2.8's flash_attn_interface.py. */
const ARGUMENTS: Readonly<Record<string, string>> = {
  'torch.nn.functional.scaled_dot_product_attention': 'query key value attn_mask dropout_p is_causal scale enable_gqa',
  'torch.nn.MultiheadAttention':
    'embed_dim num_heads dropout bias add_bias_kv add_zero_attn kdim vdim batch_first device dtype',
  'torch.nn.MultiheadAttention.forward':
    'query key value key_padding_mask need_weights attn_mask average_attn_weights is_causal',
  'torch.nn.TransformerEncoderLayer':
    'd_model nhead dim_feedforward dropout activation layer_norm_eps norm_first bias batch_first device dtype',
  'torch.nn.TransformerEncoder': 'encoder_layer num_layers norm enable_nested_tensor mask_check',
  'torch.nn.TransformerEncoderLayer.forward': 'src src_mask src_key_padding_mask is_causal',
  'torch.nn.TransformerDecoderLayer.forward':
    'tgt memory tgt_mask memory_mask tgt_key_padding_mask memory_key_padding_mask tgt_is_causal memory_is_causal',
  'flash_attn.flash_attn_func':
    'q k v dropout_p softmax_scale causal window_size softcap alibi_slopes deterministic return_attn_probs',
  'flash_attn.flash_attn_varlen_func':
    'q k v cu_seqlens_q cu_seqlens_k max_seqlen_q max_seqlen_k dropout_p softmax_scale causal window_size softcap alibi_slopes ' +
    'deterministic return_attn_probs block_table',
  'flash_attn.flash_attn_with_kvcache':
    'q k_cache v_cache k v rotary_cos rotary_sin cache_seqlens cache_batch_idx cache_leftpad block_table softmax_scale causal ' +
    'window_size softcap rotary_interleaved alibi_slopes num_splits return_softmax_lse',
  'torch.nn.attention.flex_attention.flex_attention':
    'query key value score_mod block_mask scale enable_gqa return_lse kernel_options return_aux',
  'torch.nn.attention.flex_attention.create_block_mask':
    'mask_mod B H Q_LEN KV_LEN device BLOCK_SIZE _compile separate_full_blocks compute_dq_write_order dq_kv_order',
};

/** The rows of the table after a function's mark: what it calls its arguments, and the cell with their names here. */
function rowsOf(name: string): { theirs: string[]; here: string }[] {
  const [, after] = page.split(`<!-- arguments: ${name} -->\n\n`);
  const rows = after.split('\n\n')[0].trimEnd().split('\n').slice(2);
  return rows.map((row) => {
    const [, left, here] = row.split(/(?<!\\)\|/);
    return { theirs: codes(left), here };
  });
}

const codes = (text: string): string[] => [...text.matchAll(/`([^`]+)`/g)].map(([, code]) => code);

test.each(Object.keys(ARGUMENTS))('the page names every argument of %s', (name) => {
  expect(rowsOf(name).flatMap(({ theirs }) => theirs)).toEqual(ARGUMENTS[name].split(' '));
});

test('the page has a table for no other function', () => {
  const marks = [...page.matchAll(/<!-- arguments: (\S+) -->/g)].map(([, name]) => name);
  expect(marks.toSorted()).toEqual(Object.keys(ARGUMENTS).toSorted());
});

/** The names of options, members and parameters of what src/index.ts exports. */
function publicNames(): Set<string> {
  const entry = fileURLToPath(new URL('src/index.ts', ROOT));
  const program = ts.createProgram([entry], { noResolve: false, skipLibCheck: true, allowImportingTsExtensions: true });
  const checker = program.getTypeChecker();
  const exported = checker.getExportsOfModule(checker.getSymbolAtLocation(program.getSourceFile(entry)!)!);
  const names = new Set<string>();
  for (const symbol of exported) {
    names.add(symbol.name);
    const target = symbol.flags & ts.SymbolFlags.Alias ? checker.getAliasedSymbol(symbol) : symbol;
    for (const { name } of checker.getDeclaredTypeOfSymbol(target).getProperties()) names.add(name);
    const declaration = target.declarations?.[0];
    if (!declaration) continue;
    for (const { parameters } of checker.getTypeOfSymbolAtLocation(target, declaration).getCallSignatures()) {
      for (const { name } of parameters) names.add(name);
    }
    if (!ts.isClassDeclaration(declaration)) continue;
    for (const method of declaration.members.filter(ts.isMethodDeclaration)) {
      for (const { name } of method.parameters) names.add(name.getText());
    }
  }
  return names;
}

test('each name that the tables give exists here', () => {
  const known = publicNames();
  const isKnown = (name: string): boolean => known.has(name) || name in surface;
  // the names in a code span, without numbers, words and what stands for the reader's own values
  const own = new Set([
    'true',
    'false',
    'left',
    'right',
    'align',
    'bottom',
    'top',
    'attnMask',
    'keyPaddingMask',
    'cache',
    'x',
  ]);
  const wrong = Object.keys(ARGUMENTS).flatMap((name) =>
    rowsOf(name)
      .flatMap(({ here }) => codes(here))
      .flatMap((code) => code.match(/[A-Za-z]\w*/g) ?? [])
      .filter((word) => !own.has(word) && !isKnown(word))
      .map((word) => `${name}: ${word}`),
  );
  expect(wrong).toEqual([]);
});
