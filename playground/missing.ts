/** What to do where there is no WebGPU, by browser. */
import { element } from './elements.ts';

/** As of 2026. The first whose pattern fits the visitor's browser is marked. */
const ADVICE: readonly { readonly name: string; readonly isHere: RegExp; readonly text: string }[] = [
  {
    name: 'Firefox',
    isHere: /Firefox\//,
    text: 'Has it from version 141 on Windows and 145 on Macs with Apple silicon. Elsewhere open about:config, set dom.webgpu.enabled to true, and restart.',
  },
  {
    name: 'Chrome or Edge on Android',
    isHere: /Android.*Chrome\//,
    text: 'Has it from version 121 on phones with Android 12 or newer and a Qualcomm, ARM or newer GPU.',
  },
  {
    name: 'Chrome or Edge on Linux',
    isHere: /X11; Linux.*Chrome\//,
    text: 'Open chrome://flags, enable “Unsafe WebGPU Support” and “Vulkan”, and restart. You need the Vulkan driver of your GPU.',
  },
  {
    name: 'Chrome or Edge on Windows, macOS and ChromeOS',
    isHere: /Chrome\//,
    text: 'Have it from version 113. Switch on “Use graphics acceleration when available” in the settings under System, update the GPU’s driver, and see chrome://gpu.',
  },
  {
    name: 'Safari',
    isHere: /Safari\//,
    text: 'Has it from version 26, on macOS, iOS, iPadOS and visionOS. Every browser on iPhones and iPads follows the system’s version.',
  },
];

/** Takes the place of the page. @param reason a sentence of the library's */
export function showMissing(reason: string): void {
  element('page').hidden = true;
  element('missing').hidden = false;
  element('device').textContent = 'No GPU';
  element('missing-reason').textContent = isSecureContext
    ? reason
    : `Browsers offer WebGPU to pages served over https or from localhost only, and this one is ${location.protocol}//${location.host}.`;
  const here = ADVICE.find(({ isHere }) => isHere.test(navigator.userAgent));
  element('missing-advice').replaceChildren(
    ...ADVICE.flatMap((advice) => {
      const name = document.createElement('dt');
      name.textContent = advice === here ? `${advice.name} (this browser)` : advice.name;
      const text = document.createElement('dd');
      text.textContent = advice.text;
      name.classList.toggle('here', advice === here);
      text.classList.toggle('here', advice === here);
      return [name, text];
    }),
  );
}
