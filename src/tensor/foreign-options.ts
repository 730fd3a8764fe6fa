/**
 * What other libraries call the options that calls here have, so that an error can name ours. A name alone could mislead: the
 * masks of torch.nn.MultiheadAttention mean the opposite of ours. So each row says what differs.
 */

/**
 * [their names, our name or '' where there is no such option, what differs]. A name is theirs in snake_case, and stands for
 * camelCase too. A row applies only to calls that have our option.
 */
const FOREIGN: readonly (readonly [theirs: string, ours: string, difference: string])[] = [
  // torch: scaled_dot_product_attention, nn.MultiheadAttention, nn.Transformer
  ['attn_mask src_mask tgt_mask memory_mask', 'mask', ''],
  ['key_padding_mask src_key_padding_mask tgt_key_padding_mask memory_key_padding_mask', 'keyMask', ''],
  ['tgt_key_padding_mask', 'tgtKeyMask', ''],
  ['memory_key_padding_mask', 'memoryKeyMask', ''],
  ['is_causal', 'isCausal', 'which is aligned top-left and needs no mask beside it'],
  ['dropout_p dropout', 'dropoutP', 'which ops apply at every call, and modules in train() mode'],
  ['enable_gqa', '', 'key and value may have fewer heads than query without an option'],
  ['need_weights', 'needWeights', 'by default false'],
  ['average_attn_weights', 'averageWeights', 'by default false'],
  ['need_weights average_attn_weights', 'returnWeights', 'which gives the weights of each head'],
  ['need_weights average_attn_weights', 'returnLogSumExp', 'or scaledDotProductAttention, which returns weights'],
  ['batch_first', '', 'inputs are always [batch, length, dim]'],
  ['kdim vdim', 'kvDim', 'the width of the keys and values'],
  ['kdim', 'kDim', 'the width of the key input'],
  ['vdim', 'vDim', 'the width of the value input'],
  ['add_bias_kv', 'addBiasKv', 'which means the same'],
  ['add_zero_attn', 'addZeroAttn', 'which means the same'],
  ['device', '', 'a tensor has the device that made it, and modules take theirs as the first argument'],
  // flash-attn
  ['causal', 'isCausal', "where 'bottom-right' aligns as flash-attn does, and true as PyTorch does (top-left)"],
  ['window_size', 'windowSize', 'one number w for keys within ⌊w/2⌋ on both sides'],
  ['window_size', 'window', "{ left, right }, with align: 'bottom-right' for flash-attn's alignment"],
  ['softmax_scale sm_scale', 'scale', 'which means the same'],
  ['logits_soft_cap', 'softcap', 'which is left out for none'],
  [
    'alibi_slopes',
    'alibiSlopes',
    'which measures from the bottom right, as flash-attn does, if queryOffset is Nk − Nq',
  ],
  ['return_attn_probs', 'returnWeights', 'which gives the weights of each head'],
  ['return_attn_probs', 'returnLogSumExp', 'or scaledDotProductAttention, which returns weights'],
  ['return_softmax_lse return_lse return_aux', 'returnLogSumExp', 'a natural logarithm'],
  ['deterministic', '', 'results are deterministic without an option'],
  ['cu_seqlens_q', 'queryOffsets', 'the same numbers for a query of [1, heads, total, headDim]'],
  ['cu_seqlens_k cu_seqlens_kv', 'keyOffsets', 'the same numbers for a key of [1, heads, total, headDim]'],
  ['max_seqlen max_seqlen_q max_seqlen_k max_seqlen_kv', '', 'queryOffsets and keyOffsets tell the longest sequences'],
  ['cache_seqlens seqused_k', 'keyLengths', 'which counts the keys that were just appended too'],
  ['cache_seqlens seqused_k', '', 'a KeyValueCache or PagedKeyValueCache knows its lengths'],
  ['block_table page_table', '', 'a PagedKeyValueCache keeps its own pages'],
  ['rotary_cos rotary_sin rotary_interleaved', 'rotary', 'a RotaryEmbedding or { cos, sin, interleaved }'],
  ['rotary_cos rotary_sin rotary_interleaved', '', 'rotaryEmbedding rotates query and key first'],
  ['num_splits', '', 'each call plans how to split the keys'],
  ['learnable_sink s_aux', 'sinks', 'one logit for each head'],
  // FlexAttention
  ['score_mod', 'scoreMod', "made by scoreMod('fn score_mod…') from WGSL"],
  ['mask_mod', 'maskMod', "made by maskMod('fn mask_mod…') from WGSL, true = may attend"],
  ['block_mask', 'blockMask', 'made by createBlockMask'],
  ['kernel_options', 'blockSize', "or createDevice's kernels"],
  ['kernel_options', '', "createDevice's kernels and device.tune choose kernels"],
  ['b', 'batch', 'by default 1'],
  ['h', 'heads', 'by default 1'],
  ['q_len', 'queryLength', 'which means the same'],
  ['kv_len', 'keyLength', 'which means the same'],
  // transformers, xFormers, ONNX
  ['attention_mask', 'keyMask', ''],
  ['attn_bias attention_bias', 'mask', ''],
];

const MASK =
  'where true = may attend (maskFromTorch converts a mask of torch.nn.MultiheadAttention, where true = blocked)';
const KEY_MASK = 'where true = may attend (keyMaskFromTorch converts a key_padding_mask, where true = padding)';

/** What bool masks mean, which every error says that speaks of a mask. */
const POLARITY: Readonly<Record<string, string>> = {
  mask: MASK,
  tgtMask: MASK,
  memoryMask: MASK,
  keyMask: KEY_MASK,
  tgtKeyMask: KEY_MASK,
  memoryKeyMask: KEY_MASK,
};

function plain(name: string): string {
  return name.replaceAll('_', '').toLowerCase();
}

const ROWS = FOREIGN.flatMap(([theirs, ours, difference]) =>
  theirs.split(' ').map((name) => ({ name: plain(name), ours, difference })),
);

/** What to do instead of passing an option that another library has, or undefined if none of them has it. */
export function adviceFor(name: string, known: readonly string[]): string | undefined {
  const row = ROWS.find((each) => each.name === plain(name) && (each.ours === '' || known.includes(each.ours)));
  if (!row) return undefined;
  const { ours, difference } = row;
  return ours ? `use '${ours}', ${difference || POLARITY[ours]}` : difference;
}

/** What the bool masks among the names mean, if there are any: to add after them. */
export function polarityOf(names: readonly string[]): string {
  return names.flatMap((name) => (Object.hasOwn(POLARITY, name) ? [` '${name}', ${POLARITY[name]}`] : [])).join(';');
}
