/** What a person who was woken by an alert reads. Markdown; commands are in backticks or in fenced blocks. */
export interface Runbook {
  /** What is the case, and why it is bad. */
  readonly means: string;
  /** What users of the applications notice. */
  readonly users: string;
  /** Steps to the cause, in order. */
  readonly find: readonly string[];
  /** What to do, by cause. */
  readonly fix: readonly string[];
  /** When nothing is wrong although it fires. */
  readonly falseAlarm: string;
}

/** Series that make an alert fire and end, for `promtool test rules`: a sample a minute, in its notation. */
export interface AlertTest {
  readonly series: Readonly<Record<string, string>>;
  /** The minute at which it does not fire yet. */
  readonly quietAt: number;
  readonly firesAt: number;
  /** Without the severity and the name. */
  readonly labels: Readonly<Record<string, string>>;
  /** `$value`, as the description formats it. */
  readonly value: string;
  /** The minute at which it is over. */
  readonly resolvedAt: number;
}

/** A rule that Prometheus evaluates, with what a person needs when it fires. */
export interface Alert {
  readonly name: `Remora${string}`;
  readonly severity: 'critical' | 'warning';
  readonly expression: string;
  /** How long it must be so before it fires; seconds. */
  readonly forSeconds: number;
  /** One line, with labels as `{{ $labels.pod }}`. */
  readonly summary: string;
  /** What is the case in this very instance, with `{{ $value }}`. */
  readonly description: string;
  readonly runbook: Runbook;
  readonly test: AlertTest;
}

/** How long things take. Tests let them go faster than an operator would want. */
export interface Pace {
  /** For windows and waits: how many times shorter than in production. */
  readonly speed: number;
}

export const production: Pace = { speed: 1 };

/** A time of `seconds` in production, as PromQL writes it: in whole seconds, or in minutes where it is whole minutes. */
export function span(seconds: number, { speed }: Pace): string {
  const scaled = Math.max(1, Math.round(seconds / speed));
  return scaled % 60 === 0 ? `${scaled / 60}m` : `${scaled}s`;
}

export const minute = 60;

/**
 * By how much a counter has risen within so many seconds, for each of its series; nothing for one that has not. A series that
 * begins in that time counts from its first sample: the first event makes the series, and Prometheus' own `increase` does not
 * see it. A series was there before when it was within an hour before, so that a Prometheus that was away sees nothing new.
 */
export function risen(series: string, seconds: number, pace: Pace): string {
  const window = span(seconds, pace);
  const before = `last_over_time(${series}[${span(60 * minute, pace)}] offset ${window})`;
  return `(increase(${series}[${window}]) > 0 or (${series} unless ${before}) > 0)`;
}

/** In a pod of the mesh. */
export function beside(command: string): string {
  return `\`kubectl -n NAMESPACE exec POD -c remora -- remora ${command}\``;
}

/** In the pod of the control plane, as manifests/base runs it. */
export function atControlPlane(command: string): string {
  return `\`kubectl -n remora-system exec deploy/remora-control-plane -- remora ${command} --admin-socket /run/remora/admin.sock\``;
}
