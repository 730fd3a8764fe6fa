/**
 * The one device that all test files of a process share: a device and its pipelines are what costs time in software.
 * With WEBGPU_ATTENTION_EXPERIMENTAL=1 it is opened for its tensor cores, if it has any, and ops take those.
 */
import { createDevice, type Device } from '../src/index.ts';

let shared: Promise<Device> | undefined;

export function testDevice(): Promise<Device> {
  return (shared ??= createDevice({ experimental: process.env['WEBGPU_ATTENTION_EXPERIMENTAL'] === '1' }));
}
