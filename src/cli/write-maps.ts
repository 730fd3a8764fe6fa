/** Writes the attention maps of the runs that have weights, with the example's words along their axes. */
import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { SafetensorsFile } from '../io/safetensors.ts';
import type { Drawing } from '../display/drawing.ts';
import { drawAttentionMaps, type AttentionMaps } from '../display/heatmap.ts';
import type { Outcome } from './measure.ts';

type Labels = Pick<AttentionMaps, 'queryLabels' | 'keyLabels' | 'headLabels'>;

/**
 * @param folder made if it does not exist
 * @returns the paths of the files, one a module
 */
export async function writeMaps(
  outcomes: readonly Outcome[],
  example: SafetensorsFile,
  folder: string,
  drawing: Drawing,
): Promise<string[]> {
  await mkdir(folder, { recursive: true });
  const labels = readLabels(example);
  const paths: string[] = [];
  for (const { run, results } of outcomes) {
    const weights = results.find(({ name }) => name === 'weights');
    if (!weights) continue;
    // without heads the weights are [batch, queries, keys]
    const [batch, heads, queries, keys] = weights.shape.length === 4 ? weights.shape : weights.shape.toSpliced(1, 0, 1);
    const maps: AttentionMaps = {
      title: `${run.name}: attention weights`,
      weights: weights.data,
      shape: [batch, heads, queries, keys],
      ...labels.get(run.name)!,
    };
    const path = join(folder, `${run.name}.svg`);
    await writeFile(path, drawAttentionMaps(maps, drawing));
    paths.push(path);
  }
  return paths;
}

/** The labels of each module's maps, from the file's metadata. */
function readLabels({ metadata }: SafetensorsFile): ReadonlyMap<string, Labels> {
  const runs = JSON.parse(metadata['runs']) as ({ name: string } & Labels)[];
  return new Map(
    runs.map(({ name, queryLabels, keyLabels, headLabels }) => [name, { queryLabels, keyLabels, headLabels }]),
  );
}
