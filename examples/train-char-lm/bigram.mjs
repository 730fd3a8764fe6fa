/** What is added to every count. The one that suits the validation text best is taken: nobody shall say that the rival is weak. */
const SMOOTHINGS = [0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1];

/**
 * The loss, in nats a character, of the best model that knows the character before and no more: how often each follows it in
 * the training text.
 *
 * @param {Int32Array} training
 * @param {{ tokens: Int32Array, targets: Int32Array }} validation each target follows the token at its place
 * @param {number} vocabulary
 */
export function bigramLoss(training, { tokens, targets }, vocabulary) {
  const counts = new Float64Array(vocabulary * vocabulary);
  const totals = new Float64Array(vocabulary);
  for (let i = 1; i < training.length; i++) {
    counts[training[i - 1] * vocabulary + training[i]]++;
    totals[training[i - 1]]++;
  }
  const losses = SMOOTHINGS.map((added) => {
    let sum = 0;
    tokens.forEach((token, i) => {
      const count = counts[token * vocabulary + targets[i]];
      sum -= Math.log((count + added) / (totals[token] + added * vocabulary));
    });
    return sum / tokens.length;
  });
  return Math.min(...losses);
}
