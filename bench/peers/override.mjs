/** Makes every call of a method go through `replacement`, which gets the original method, bound, and then the arguments. */
export function override(prototype, name, replacement) {
  const original = prototype[name];
  prototype[name] = function (...values) {
    return replacement(original.bind(this), ...values);
  };
}
