/** Elements of index.html by their ids, with the class that is expected of them. */
export function element<T extends HTMLElement = HTMLElement>(id: string): T {
  const found = document.getElementById(id);
  if (!found) throw new Error(`index.html must have an element #${id}`);
  return found as T;
}

/** Shows a range's value in the output beside it. */
export function showValue(range: HTMLInputElement): void {
  document.querySelector(`output[for="${range.id}"]`)!.textContent = range.value;
}

/** Calls at most once in `milliseconds`, with the last arguments, and not before they have passed in silence. */
export function afterPause<A extends unknown[]>(
  milliseconds: number,
  call: (...args: A) => void,
): (...args: A) => void {
  let timer: ReturnType<typeof setTimeout> | undefined;
  return (...args) => {
    clearTimeout(timer);
    timer = setTimeout(() => call(...args), milliseconds);
  };
}
