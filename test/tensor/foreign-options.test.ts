/** What a call says to the options of other libraries. Above all, no advice may flip what a mask means. */
import { describe, expect, test } from 'vitest';
import { CACHED_ATTENTION_OPTIONS } from '../../src/caches/attend.ts';
import { FORWARD_OPTIONS, PROJECTION_OPTIONS } from '../../src/modules/projected-attention.ts';
import { ATTENTION_OPTIONS } from '../../src/ops/attention/internal/options.ts';
import { checkOptions } from '../../src/tensor/options.ts';

const CALLS: Readonly<Record<string, readonly string[]>> = {
  scaledDotProductAttention: [...ATTENTION_OPTIONS, 'returnWeights'],
  flashAttention: [...ATTENTION_OPTIONS, 'blockSize'],
  'KeyValueCache.attend': [...CACHED_ATTENTION_OPTIONS, 'rotary'],
  MultiHeadAttention: [...PROJECTION_OPTIONS, 'kDim', 'vDim', 'addBiasKv', 'addZeroAttn'],
  CrossAttention: [...PROJECTION_OPTIONS, 'kvDim'],
  LocalAttention: [...PROJECTION_OPTIONS, 'windowSize'],
  'MultiHeadAttention.forward': FORWARD_OPTIONS,
  createBlockMask: ['batch', 'heads', 'queryLength', 'keyLength', 'blockSize'],
  softmax: ['mask', 'scale', 'isCausal'],
};

/** The message after `call: unknown option 'name'; `. */
function hint(call: string, name: string): string {
  try {
    checkOptions(call, { [name]: 1 }, CALLS[call]);
  } catch (error) {
    const start = `${call}: unknown option '${name}'; `;
    expect((error as Error).message.startsWith(start)).toBe(true);
    return (error as Error).message.slice(start.length);
  }
  throw new Error(`${call} knows ${name}`);
}

const camelCase = (name: string) => name.replaceAll(/_(\w)/g, (_, letter: string) => letter.toUpperCase());

const MASK = "'mask', where true = may attend (maskFromTorch converts a mask of torch.nn.MultiheadAttention, where ";
const KEY_MASK =
  "'keyMask', where true = may attend (keyMaskFromTorch converts a key_padding_mask, where true = padding)";

describe.each<[call: string, names: readonly string[], expected: string]>([
  ['flashAttention', ['attn_mask', 'src_mask', 'memory_mask', 'attn_bias'], `use ${MASK}true = blocked)`],
  ['MultiHeadAttention.forward', ['attn_mask'], `use ${MASK}true = blocked)`],
  ['KeyValueCache.attend', ['attn_mask'], `use ${MASK}true = blocked)`],
  ['softmax', ['attn_mask'], `use ${MASK}true = blocked)`],
  ['flashAttention', ['key_padding_mask', 'src_key_padding_mask', 'attention_mask'], `use ${KEY_MASK}`],
  ['MultiHeadAttention.forward', ['key_padding_mask'], `use ${KEY_MASK}`],
  ['flashAttention', ['is_causal'], "use 'isCausal', which is aligned top-left and needs no mask beside it"],
  ['flashAttention', ['dropout_p'], "use 'dropoutP', which ops apply at every call, and modules in train() mode"],
  ['MultiHeadAttention', ['dropout'], "use 'dropoutP', which ops apply at every call, and modules in train() mode"],
  ['flashAttention', ['enable_gqa'], 'key and value may have fewer heads than query without an option'],
  ['MultiHeadAttention.forward', ['need_weights'], "use 'needWeights', by default false"],
  ['MultiHeadAttention.forward', ['average_attn_weights'], "use 'averageWeights', by default false"],
  ['scaledDotProductAttention', ['need_weights'], "use 'returnWeights', which gives the weights of each head"],
  ['MultiHeadAttention', ['batch_first'], 'inputs are always [batch, length, dim]'],
  ['MultiHeadAttention', ['kdim'], "use 'kDim', the width of the key input"],
  ['MultiHeadAttention', ['vdim'], "use 'vDim', the width of the value input"],
  ['CrossAttention', ['kdim', 'vdim'], "use 'kvDim', the width of the keys and values"],
  ['MultiHeadAttention', ['add_bias_kv'], "use 'addBiasKv', which means the same"],
  ['MultiHeadAttention', ['add_zero_attn'], "use 'addZeroAttn', which means the same"],
  [
    'MultiHeadAttention',
    ['device'],
    'a tensor has the device that made it, and modules take theirs as the first argument',
  ],
  [
    'flashAttention',
    ['causal'],
    "use 'isCausal', where 'bottom-right' aligns as flash-attn does, and true as PyTorch does (top-left)",
  ],
  ['flashAttention', ['window_size'], "use 'window', { left, right }, with align: 'bottom-right' for flash-attn's"],
  ['LocalAttention', ['window_size'], "use 'windowSize', one number w for keys within ⌊w/2⌋ on both sides"],
  ['flashAttention', ['softmax_scale', 'sm_scale'], "use 'scale', which means the same"],
  ['flashAttention', ['logits_soft_cap'], "use 'softcap', which is left out for none"],
  [
    'flashAttention',
    ['alibi_slopes'],
    "use 'alibiSlopes', which measures from the bottom right, as flash-attn does, if queryOffset is Nk − Nq",
  ],
  ['scaledDotProductAttention', ['return_attn_probs'], "use 'returnWeights', which gives the weights of each head"],
  [
    'flashAttention',
    ['return_attn_probs', 'need_weights'],
    "use 'returnLogSumExp', or scaledDotProductAttention, which returns weights",
  ],
  ['flashAttention', ['return_softmax_lse', 'return_lse', 'return_aux'], "use 'returnLogSumExp', a natural logarithm"],
  ['flashAttention', ['deterministic'], 'results are deterministic without an option'],
  [
    'flashAttention',
    ['cu_seqlens_q'],
    "use 'queryOffsets', the same numbers for a query of [1, heads, total, headDim]",
  ],
  ['flashAttention', ['cu_seqlens_k'], "use 'keyOffsets', the same numbers for a key of [1, heads, total, headDim]"],
  [
    'flashAttention',
    ['max_seqlen', 'max_seqlen_q', 'max_seqlen_k'],
    'queryOffsets and keyOffsets tell the longest sequences',
  ],
  [
    'flashAttention',
    ['cache_seqlens', 'seqused_k'],
    "use 'keyLengths', which counts the keys that were just appended too",
  ],
  ['KeyValueCache.attend', ['cache_seqlens'], 'a KeyValueCache or PagedKeyValueCache knows its lengths'],
  ['KeyValueCache.attend', ['rotary_cos', 'rotary_interleaved'], "use 'rotary', a RotaryEmbedding or { cos, sin,"],
  ['flashAttention', ['rotary_cos'], 'rotaryEmbedding rotates query and key first'],
  ['flashAttention', ['block_table', 'page_table'], 'a PagedKeyValueCache keeps its own pages'],
  ['flashAttention', ['num_splits'], 'each call plans how to split the keys'],
  ['flashAttention', ['learnable_sink', 's_aux'], "use 'sinks', one logit for each head"],
  ['flashAttention', ['score_mod'], "use 'scoreMod', made by scoreMod('fn score_mod…') from WGSL"],
  ['flashAttention', ['mask_mod'], "use 'maskMod', made by maskMod('fn mask_mod…') from WGSL, true = may attend"],
  ['flashAttention', ['block_mask'], "use 'blockMask', made by createBlockMask"],
  ['flashAttention', ['kernel_options'], "use 'blockSize', or createDevice's kernels"],
  ['scaledDotProductAttention', ['kernel_options'], "createDevice's kernels and device.tune choose kernels"],
  ['createBlockMask', ['B'], "use 'batch', by default 1"],
  ['createBlockMask', ['H'], "use 'heads', by default 1"],
  ['createBlockMask', ['Q_LEN'], "use 'queryLength', which means the same"],
  ['createBlockMask', ['KV_LEN'], "use 'keyLength', which means the same"],
])('%s', (call, names, expected) => {
  test.each(names)('%s', (name) => {
    expect(hint(call, name).slice(0, expected.length)).toBe(expected);
    const other = camelCase(name);
    if (!CALLS[call].includes(other)) expect(hint(call, other)).toBe(hint(call, name));
  });
});

test('no advice names a mask without what its values mean', () => {
  const words = [
    'attn',
    'attention',
    'key',
    'padding',
    'keyPadding',
    'src',
    'causal',
    'blocked',
    'ignore',
    'bool',
    'k',
    '',
  ];
  const names = words.flatMap((word) => [
    ...['mask', 'masks', '_mask', '_bias', 'mask_mod'].map((end) => word + end),
    word && `${word}Mask`,
    word && `mask_${word}`,
  ]);
  for (const call of Object.keys(CALLS)) {
    for (const name of names.filter((each) => each && !CALLS[call].includes(each))) {
      const message = hint(call, name);
      const isAbout = (mask: string) => new RegExp(`(did you mean|use) '${mask}'`).test(message);
      if (isAbout('mask')) expect(message).toMatch(/true = may attend \(maskFromTorch/);
      if (isAbout('keyMask')) expect(message).toMatch(/true = may attend \(keyMaskFromTorch/);
      // a name of a mask for which there is no advice gets the list, and what its masks mean
      if (message.startsWith('known options are') && CALLS[call].includes('mask') && /mask/i.test(name)) {
        expect(message).toMatch(/; masks are 'mask', where true = may attend \(maskFromTorch/);
      }
    }
  }
});
