/** Writes the attention maps of the runs that have weights, with the example's words along their axes. */
import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { attentionHeatmap } from '../index.ts';
import type { SafetensorsFile } from '../io/safetensors.ts';
import type { Outcome } from './measure.ts';

/** One list of words for each batch entry. */
interface Labels {
  readonly queryLabels: readonly (readonly string[])[];
  readonly keyLabels: readonly (readonly string[])[];
  readonly headLabels?: readonly string[];
}

/**
 * @param folder made if it does not exist
 * @returns the paths of the files, one for each batch entry of a module
 */
export async function writeMaps(
  outcomes: readonly Outcome[],
  example: SafetensorsFile,
  folder: string,
): Promise<string[]> {
  await mkdir(folder, { recursive: true });
  const labels = readLabels(example);
  const paths: string[] = [];
  for (const { run, results } of outcomes) {
    const weights = results.find(({ name }) => name === 'weights');
    if (!weights) continue;
    // without heads the weights are [batch, queries, keys]
    const shape = weights.shape.length === 4 ? weights.shape : weights.shape.toSpliced(1, 0, 1);
    const { queryLabels, keyLabels, headLabels } = labels.get(run.name)!;
    for (let batch = 0; batch < shape[0]; batch++) {
      const path = join(folder, `${run.name}-${batch}.svg`);
      const svg = await attentionHeatmap(
        { data: weights.data, shape },
        {
          batch,
          headLabels,
          labels: { queries: queryLabels[batch], keys: keyLabels[batch] },
          title: `${run.name}, batch entry ${batch}`,
        },
      );
      await writeFile(path, svg);
      paths.push(path);
    }
  }
  return paths;
}

/** The labels of each module's maps, from the file's metadata. */
function readLabels({ metadata }: SafetensorsFile): ReadonlyMap<string, Labels> {
  const runs = JSON.parse(metadata['runs']) as ({ name: string } & Labels)[];
  return new Map(runs.map((run) => [run.name, run]));
}
