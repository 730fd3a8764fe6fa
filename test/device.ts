/** The one device that all test files of a process share: a device and its pipelines are what costs time in software. */
import { createDevice, type Device } from '../src/index.ts';

let shared: Promise<Device> | undefined;

export function testDevice(): Promise<Device> {
  return (shared ??= createDevice());
}
