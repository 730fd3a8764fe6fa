/** Where a message about a modifier's source points to. */
export interface Problem {
  readonly line: number;
  readonly column: number;
  readonly message: string;
}

/** The library writes `scoreMod: line 3, column 12: what`, or the same after the op's name. */
export function problemOf(message: string): Problem {
  const place = /line (\d+), column (\d+): ([^]*)/.exec(message);
  return place
    ? { line: Number(place[1]), column: Number(place[2]), message: place[3] }
    : { line: 1, column: 1, message };
}
