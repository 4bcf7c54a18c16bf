import type { Report } from '../control-api.ts';
import type { Workload } from './token-review.ts';

/** The last report of each pod. Bounded: beyond the limit the pod that has been silent for longest is forgotten. */
export interface ReportBook {
  readonly size: number;
  keep(workload: Workload, report: Report): void;
  /** `pod` is `namespace/name`. */
  of(pod: string): Report | undefined;
}

export function createReportBook(maxPods = 5000): ReportBook {
  const reports = new Map<string, Report>();
  return {
    get size() {
      return reports.size;
    },
    keep({ namespace, pod }, report) {
      const name = `${namespace}/${pod}`;
      reports.delete(name);
      reports.set(name, report);
      const [oldest] = reports.keys();
      if (reports.size > maxPods && oldest !== undefined) reports.delete(oldest);
    },
    of: (pod) => reports.get(pod),
  };
}
