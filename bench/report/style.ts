/** The colours on white paper. Those of families keep a contrast of 4.5 on it, since labels are written in them. */
export const LIGHT = {
  paper: '#fff',
  ink: '#1c2330',
  muted: '#5b6472',
  faint: '#b4bcc8',
  panel: '#f4f6f9',
  bad: '#b3261e',
  peer: '#9aa6b6',
  matmul: '#6b3fa0',
  softmax: '#7d6200',
  materialised: '#b3410e',
  flash: '#0a5fc0',
  cache: '#a8246b',
  local: '#0a7450',
  modules: '#4a5563',
};

const declarations = Object.entries(LIGHT).map(([name, colour]) => `--${name}: ${colour};`);

/** The page's style sheet. */
export const STYLE = `
:root {
  color-scheme: light dark;
  ${declarations.join(' ')}
}
@media screen and (prefers-color-scheme: dark) {
  :root {
    --paper: #14181f; --ink: #e6e9ee; --muted: #9ba5b4; --faint: #4d5665; --panel: #1d232c; --bad: #ff8a80; --peer: #6d7a8c;
    --matmul: #c3a1ff; --softmax: #e0bd45; --materialised: #ff9a6b; --flash: #6fb4ff; --cache: #ff8fc4; --local: #4fd0a0; --modules: #b3bfcc;
  }
}
* { box-sizing: border-box; }
body {
  margin: 0 auto; max-width: 1112px; padding: 32px 16px 48px; background: var(--paper); color: var(--ink);
  font: 16px/1.5 system-ui, -apple-system, 'Segoe UI', Roboto, 'Helvetica Neue', Arial, sans-serif;
}
h1 { margin: 0; font-size: 28px; line-height: 1.2; text-wrap: balance; }
h2 { margin: 48px 0 4px; font-size: 20px; line-height: 1.3; }
h3 { margin: 24px 0 8px; font-size: 16px; }
p { margin: 4px 0 12px; max-width: 46em; }
.muted, figcaption { color: var(--muted); }
.subtitle { margin: 6px 0 20px; color: var(--muted); }
dl.facts { display: grid; grid-template-columns: repeat(auto-fit, minmax(240px, 1fr)); gap: 10px 24px; margin: 0; }
dl.facts dt, dl.roof dt { font-size: 13px; color: var(--muted); }
dl.facts dd { margin: 0; overflow-wrap: anywhere; }
dl.roof { display: grid; grid-template-columns: repeat(auto-fit, minmax(156px, 1fr)); gap: 12px; margin: 12px 0 0; }
dl.roof > div { padding: 10px 14px 12px; background: var(--panel); border-radius: 8px; break-inside: avoid; }
dl.roof dd { margin: 0; font-size: 18px; font-weight: 600; white-space: nowrap; font-variant-numeric: tabular-nums; }

figure { margin: 12px 0 0; break-inside: avoid; }
figcaption { font-size: 14px; }
figure svg.plot { display: block; width: 100%; max-width: 640px; height: auto; color: var(--ink); font-family: inherit; }
figure .wide { display: none; }
.pair { display: grid; gap: 16px 32px; }
@media print, (min-width: 1000px) {
  figure .wide { display: block; }
  figure .wide svg.plot { max-width: none; }
  figure .narrow { display: none; }
  .pair { grid-template-columns: 1fr 1fr; }
  .pair svg.plot { max-width: none; }
}
ul.legend { display: flex; flex-wrap: wrap; gap: 2px 18px; margin: 0 0 8px; padding: 0; list-style: none; font-size: 14px; }
ul.legend li { display: flex; align-items: center; gap: 6px; }
ul.legend svg.plot { width: 14px; height: 14px; }

.peers { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 460px), 1fr)); gap: 28px 40px; margin-top: 20px; }
.peers section { break-inside: avoid; min-width: 0; }
.peers h3 { margin: 0; }
.peers .verdict { margin: 0 0 8px; font-size: 14px; }
.peers ul { margin: 0; padding: 0; list-style: none; font-size: 14px; }
.peers li { margin-bottom: 6px; }
.peers .name { display: flex; justify-content: space-between; gap: 12px; }
.peers .name > :last-child { text-align: right; white-space: nowrap; font-variant-numeric: tabular-nums; }
.peers .ours .name { font-weight: 600; }
.peers .scale { margin: 10px 0 4px; padding-top: 6px; border-top: 1px solid var(--faint); color: var(--muted); font-size: 13px; }
.track { position: relative; height: 10px; background: var(--panel); print-color-adjust: exact; }
.bar { position: absolute; inset: 0 auto 0 0; min-width: 1px; background: var(--peer); }
.ours .bar { background: var(--flash); }
.cpu .bar { background: none; border: 1px solid var(--muted); }
.wrong .bar { background: repeating-linear-gradient(135deg, var(--bad) 0 2px, transparent 2px 6px); border: 1px solid var(--bad); }
.beyond .bar { clip-path: polygon(0 0, 100% 0, calc(100% - 6px) 50%, 100% 100%, 0 100%); }
.interval { position: absolute; top: 4px; height: 2px; background: var(--ink); }
.bad { color: var(--bad); }

.scroll { overflow-x: auto; margin-top: 12px; }
table { width: 100%; border-collapse: collapse; font-size: 14px; font-variant-numeric: tabular-nums; }
th, td { padding: 4px 10px; text-align: right; white-space: nowrap; vertical-align: baseline; }
th:first-child, td:first-child, th:nth-child(2), td:nth-child(2) { padding-left: 0; text-align: left; }
th:last-child, td:last-child { padding-right: 0; }
thead th { border-bottom: 1.5px solid var(--ink); font-weight: 600; vertical-align: bottom; }
tbody th { padding-top: 14px; font-size: 15px; }
td:first-child { min-width: 14em; white-space: normal; }
tbody td { border-top: 1px solid color-mix(in srgb, var(--faint) 45%, transparent); }
tbody tr { break-inside: avoid; }
td small { display: block; color: var(--muted); }
td .bar { background: var(--muted); }
td .track { height: 4px; margin-top: 3px; min-width: 70px; }

@media print {
  body { padding: 0; font-size: 10.5pt; }
  h2, h3, h2 + p, .legend { break-after: avoid; }
  h2 { margin-top: 24pt; }
  .peers { grid-template-columns: 1fr 1fr; }
  .scroll { overflow: visible; }
  table { font-size: 7.5pt; }
  th, td { padding: 2px 4px; }
  td .track { min-width: 40px; }
}
`;
