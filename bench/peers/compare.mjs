/** Lets all libraries take turns at one problem. */
import { setTimeout as pause } from 'node:timers/promises';
import { summarise } from '../../dist/bench-peers.js';
import { reference } from './problems.mjs';

/** A pause between turns, because ONNX Runtime's CPU threads spin for up to 40 ms after a run, and would slow the next turn. */
const PAUSE_MS = 100;

/**
 * @param {import('./problems.mjs').Problem} problem
 * @param {readonly import('./peer.mjs').Peer[]} peers
 * @param {{ rounds: number, calls: number, progress: (text: string) => void }} options
 * @returns {Promise<import('../result.ts').PeerRow>}
 */
export async function comparePeers(problem, peers, { rounds, calls, progress }) {
  const expected = reference(problem);
  const able = peers.filter(({ library }) => problem.op !== 'training' || library.trains);
  const turns = able.map((peer) => ({ peer, times: [], outcome: {} }));
  /** Visits the libraries that have not failed, one after the other. */
  const each = async (step) => {
    for (const turn of turns.filter(({ outcome }) => outcome.failure === undefined)) {
      try {
        await step(turn);
      } catch (error) {
        turn.outcome.failure = error.message;
        turn.peer.close(); // its state is unknown, so the next problem starts a new process
      }
    }
  };

  await each(async ({ peer, outcome }) => {
    progress(`${problem.name}: ${peer.library.name} compiles`);
    await peer.open();
    const rows = await peer.ask('prepare', { name: problem.name });
    const error = largestDifference(rows, expected.values);
    outcome.isRight = error <= expected.tolerance;
    if (Number.isFinite(error)) outcome.error = error;
  });
  await each(({ peer }) => peer.ask('time', { calls })); // the second call still fills caches
  for (let round = 1; round <= rounds; round++) {
    progress(`${problem.name}: round ${round} of ${rounds}`);
    await each(async ({ peer, times }) => {
      await pause(PAUSE_MS);
      times.push(await peer.ask('time', { calls }));
    });
  }
  await each(({ peer }) => peer.ask('release'));

  const entries = turns.map(({ peer: { library }, times, outcome: { failure, ...checked } }) => ({
    library: library.name,
    version: library.version,
    isWebGpu: library.isWebGpu,
    ...(failure === undefined ? { timing: summarise(times), ...checked } : { failure }),
  }));
  return { name: problem.name, entries };
}

/** NaN if a value is NaN. */
function largestDifference(values, expected) {
  return values.reduce((most, value, i) => Math.max(most, Math.abs(value - expected[i])), 0);
}
