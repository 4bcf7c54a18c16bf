/** A series of this metric with these matchers, such as `kind="workload"`. */
export type Select = (metric: string, ...matchers: readonly string[]) => string;

/** The part of the life of a workload's certificate that is left, from 1 down; below 0 when it is over. */
export function lifeLeft(select: Select): string {
  const end = select('remora_certificate_not_after_timestamp_seconds', 'kind="workload"');
  const start = select('remora_certificate_not_before_timestamp_seconds');
  return `(${end} - time()) / ignoring (kind) (${end} - ignoring (kind) ${start})`;
}
