/** Base class of every error that this library makes on purpose. */
export class WebGPUAttentionError extends Error {
  override name = 'WebGPUAttentionError';
}

/** A call was refused before anything happened: the message names the op, the argument, what was expected and what came. */
export class ArgumentError extends WebGPUAttentionError {
  override name = 'ArgumentError';
}

/** No adapter of the wanted kind; the message says what to install. */
export class AdapterNotFoundError extends WebGPUAttentionError {
  override name = 'AdapterNotFoundError';
}

/** The device was lost or disposed before recorded work was done. */
export class DeviceLostError extends WebGPUAttentionError {
  override name = 'DeviceLostError';
}

/** The byte budget (`createDevice({ memoryBudget })`) or the GPU's own memory is exhausted. */
export class OutOfMemoryError extends WebGPUAttentionError {
  override name = 'OutOfMemoryError';
}

/** A shader did not compile or a pipeline could not be made; the message carries line and column. */
export class ShaderError extends WebGPUAttentionError {
  override name = 'ShaderError';
}

/** WebGPU rejected recorded work. This is a defect of this library, or wrong usage flags of a wrapped buffer. */
export class ValidationError extends WebGPUAttentionError {
  override name = 'ValidationError';
}

/** A state dict or file does not hold what it should; lists the first problems found. */
export class LoadError extends WebGPUAttentionError {
  override name = 'LoadError';
}

/** Most characters that a message shows of one name or value. */
const SHOWN = 80;

/** The beginning of a name or value for a message, on one line. It may come from a file, so it may be long and hold anything. */
export function shorten(text: string): string {
  return withoutControls(text.length > SHOWN ? `${text.slice(0, SHOWN)}…` : text);
}

/** The same in quotation marks, as JSON. */
export function quote(text: string): string {
  return withoutControls(JSON.stringify(text.length > SHOWN ? `${text.slice(0, SHOWN)}…` : text));
}

function withoutControls(text: string): string {
  return text.replace(/[\p{Cc}\u2028\u2029]/gu, (character) => {
    return `\\u${character.charCodeAt(0).toString(16).padStart(4, '0')}`;
  });
}

/** The first items of a list for a message, and how many more there are. */
export function listFirst(items: readonly string[], most = 8): string {
  const more = items.length - most;
  return more > 0 ? [...items.slice(0, most), `and ${more} more`].join('; ') : items.join('; ');
}
