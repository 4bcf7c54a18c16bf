/** Bytes in at most five characters: `512B`, `1.5K`, `20M`, in powers of 1,024. */
export function shortBytes(bytes: number): string {
  let amount = bytes;
  let unit = 0;
  while (amount >= 999.5 && unit < byteUnits.length - 1) {
    amount /= 1024;
    unit += 1;
  }
  const isSmall = unit > 0 && amount < 9.95;
  return `${isSmall ? amount.toFixed(1) : Math.round(amount)}${byteUnits[unit]}`;
}

const byteUnits = ['B', 'K', 'M', 'G', 'T', 'P'];

/** Each different text with how often it comes, the most frequent first. */
export function tally(texts: Iterable<string>): [text: string, count: number][] {
  const counts = new Map<string, number>();
  for (const text of texts) counts.set(text, (counts.get(text) ?? 0) + 1);
  return [...counts].sort(([, one], [, other]) => other - one);
}
