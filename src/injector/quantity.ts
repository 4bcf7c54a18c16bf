import type { Scalar } from '../config/kinds.ts';
import { scalar } from '../config/kinds.ts';

const memoryUnits: Readonly<Record<string, number>> = {
  Ki: 1024,
  Mi: 1024 ** 2,
  Gi: 1024 ** 3,
  k: 1000,
  M: 1000 ** 2,
  G: 1000 ** 3,
};

/** Bytes of a memory quantity as Kubernetes writes it, such as `128Mi`; undefined when it is none. */
export function memoryBytes(text: string): number | undefined {
  const [, digits = '', unit = ''] = /^(\d{1,12})(Ki|Mi|Gi|k|M|G)?$/.exec(text) ?? [];
  return digits === '' ? undefined : Number(digits) * (memoryUnits[unit] ?? 1);
}

/** Thousandths of a processor of a CPU quantity such as `100m` or `0.5`; undefined when it is none. */
export function cpuMillis(text: string): number | undefined {
  const [, millis, cores] = /^(?:(\d{1,6})m|(\d{1,3}(?:\.\d{1,3})?))$/.exec(text) ?? [];
  if (millis !== undefined) return Number(millis);
  return cores === undefined ? undefined : Math.round(Number(cores) * 1000);
}

/** With 80Mi the kernel killed it under eight downloads at once, with 56Mi under one; more than the most is a mistake. */
const memoryBounds = { least: 96 * 1024 ** 2, most: 16 * 1024 ** 3 };

export const memory: Scalar<string> = scalar({
  name: 'an amount of memory',
  expected: 'a quantity from 96Mi to 16Gi such as 256Mi',
  placeholder: 'quantity',
  parse: (text) => within(text, memoryBytes(text), memoryBounds),
});

export const cpu: Scalar<string> = scalar({
  name: 'an amount of CPU',
  expected: 'a quantity from 1m to 64 such as 100m',
  placeholder: 'quantity',
  parse: (text) => within(text, cpuMillis(text), { least: 1, most: 64_000 }),
});

function within(text: string, value: number | undefined, { least, most }: { least: number; most: number }) {
  return value !== undefined && value >= least && value <= most ? text : undefined;
}
