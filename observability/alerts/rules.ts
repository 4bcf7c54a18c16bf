import type { Alert, Pace } from './alert.ts';
import { span } from './alert.ts';
import { controlPlaneAlerts } from './control-plane.ts';
import { identityAlerts } from './identity.ts';
import { sidecarAlerts } from './sidecar.ts';
import { trafficAlerts } from './traffic.ts';

/** Where the runbooks are, unless an operator has put them elsewhere. Paths are below the root of this repository. */
export const runbookFolder = 'docs/runbooks';

/** A group of Prometheus' rule files, in the form of its documentation ("Recording rules", "Alerting rules"). */
export interface RuleGroup {
  readonly name: string;
  readonly rules: readonly {
    readonly alert: string;
    readonly expr: string;
    readonly for?: string;
    readonly labels: Readonly<Record<string, string>>;
    readonly annotations: Readonly<Record<'summary' | 'description' | 'runbook_url', string>>;
  }[];
}

/** Alerts by the name of their group. */
export function alertGroups(pace: Pace): Readonly<Record<string, readonly Alert[]>> {
  return {
    'remora-identity': identityAlerts(pace),
    'remora-sidecars': sidecarAlerts(),
    'remora-traffic': trafficAlerts(pace),
    'remora-control-plane': controlPlaneAlerts(),
  };
}

export function allAlerts(pace: Pace): readonly Alert[] {
  return Object.values(alertGroups(pace)).flat();
}

/** What a rule file holds. */
export function ruleGroups(pace: Pace): { readonly groups: readonly RuleGroup[] } {
  return {
    groups: Object.entries(alertGroups(pace)).map(([name, alerts]) => ({
      name,
      rules: alerts.map((alert) => ({
        alert: alert.name,
        expr: alert.expression,
        ...(alert.forSeconds > 0 && { for: span(alert.forSeconds, pace) }),
        labels: { severity: alert.severity },
        annotations: annotationsOf(alert),
      })),
    })),
  };
}

/** As they stand in the rule, with the templates of Prometheus. */
export function annotationsOf({ name, summary, description }: Alert): RuleGroup['rules'][number]['annotations'] {
  return { summary, description, runbook_url: `${runbookFolder}/${name}.md` };
}
