export function tellStory(random: () => number): string;
