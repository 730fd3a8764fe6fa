/** The section in which the trained model writes. */
import { Background, startAndStop } from '../background/background.ts';
import { element, showValue } from '../elements.ts';

export function showText(): void {
  const prompt = element<HTMLInputElement>('prompt');
  const temperature = element<HTMLInputElement>('temperature');
  const written = element('written');
  const status = element('text-status');
  const start = element<HTMLButtonElement>('text-start');
  const background = new Background();
  temperature.addEventListener('input', () => showValue(temperature));
  prompt.addEventListener('keydown', ({ key }) => {
    if (key === 'Enter') start.click();
  });
  startAndStop(start, status, background, async () => {
    const given = document.createElement('strong');
    given.textContent = prompt.value.trimEnd();
    written.replaceChildren(given);
    const input = { prompt: prompt.value, temperature: Number(temperature.value) };
    const { tokens, prefillTime, decodeTime } = await background.run('generate', input, (piece) => {
      written.append(piece);
      written.scrollTop = written.scrollHeight;
      status.textContent = 'Writing …';
    });
    const pace = tokens > 1 ? `, ${Math.round(((tokens - 1) / decodeTime) * 1000)} tokens a second` : '';
    return `${tokens} tokens. The first came after ${Math.round(prefillTime)} ms${pace}.`;
  });
}
