/** Numbers with their units, shapes, devices and tables, as commands and benchmarks print them. */
import Table from 'cli-table3';
import pc from 'picocolors';
import type { DeviceInfo } from '../tensor/device.ts';

/** `4.8e-7`; an exact match is `0`. */
export function formatError(error: number): string {
  return error === 0 ? '0' : error.toExponential(1);
}

/** Milliseconds with three digits; `–` if the device has no clock. */
export function formatTime(milliseconds: number | undefined): string {
  if (milliseconds === undefined) return '–';
  return `${milliseconds >= 100 ? milliseconds.toFixed(0) : milliseconds.toPrecision(3)} ms`;
}

/** `[2,3,64]`, without the spaces of error messages, so that tables stay narrow. */
export function formatShape(shape: readonly number[]): string {
  return `[${shape.join()}]`;
}

/** `16 KiB`, `1.5 GiB`: the largest unit that gives at least 1, with at most two decimals. */
export function formatBytes(bytes: number): string {
  const units = ['bytes', 'KiB', 'MiB', 'GiB', 'TiB'];
  let unit = 0;
  let value = bytes;
  while (value >= 1024 && unit < units.length - 1) {
    value /= 1024;
    unit++;
  }
  return `${Number(value.toFixed(2))} ${units[unit]}`;
}

/** One line about the device: its name, its driver, and why it was taken. */
export function deviceLine(info: DeviceInfo): string {
  const { device, description, vendor, architecture, driver, isSoftware, reason } = info;
  // a GPU's description is the version of its driver
  const own = isSoftware ? description || device : [device, description].filter(Boolean).join(', ');
  const maker = [vendor, architecture].filter(Boolean).join(' ');
  const name = own && maker ? `${own} (${maker})` : own || maker || 'unnamed';
  return `${name}; driver: ${driver}${isSoftware ? ', on the CPU' : ''}; taken because ${reason}`;
}

/** Cells may hold several lines and colours. */
export function table(head: readonly string[], rows: readonly (readonly string[])[]): string {
  const drawn = new Table({ head: head.map((title) => pc.bold(title)), style: { head: [], border: [] } });
  drawn.push(...rows.map((row) => [...row]));
  return drawn.toString();
}
