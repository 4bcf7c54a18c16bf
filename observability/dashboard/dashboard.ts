import {
  BigValueColorMode,
  BigValueGraphMode,
  GraphThresholdsStyleConfigBuilder,
  GraphThresholdsStyleMode,
  LegendDisplayMode,
  LegendPlacement,
  ReduceDataOptionsBuilder,
  SortOrder,
  TooltipDisplayMode,
  VisibilityMode,
  VizLegendOptionsBuilder,
  VizTooltipOptionsBuilder,
} from '@grafana/grafana-foundation-sdk/common';
import type { Dashboard } from '@grafana/grafana-foundation-sdk/dashboard';
import {
  DashboardBuilder,
  DashboardCursorSync,
  DatasourceVariableBuilder,
  FieldColorBuilder,
  FieldColorModeId,
  MappingType,
  QueryVariableBuilder,
  RowBuilder,
  ThresholdsConfigBuilder,
  ThresholdsMode,
  VariableRefresh,
  VariableSort,
} from '@grafana/grafana-foundation-sdk/dashboard';
import { DataqueryBuilder } from '@grafana/grafana-foundation-sdk/prometheus';
import { PanelBuilder as NumberBuilder } from '@grafana/grafana-foundation-sdk/stat';
import { PanelBuilder as StatesBuilder } from '@grafana/grafana-foundation-sdk/statetimeline';
import { PanelBuilder as LinesBuilder } from '@grafana/grafana-foundation-sdk/timeseries';
import { variables } from '../variables.ts';
import { controlPlane } from './control-plane-row.ts';
import type { Panel, Row, Step } from './panel.ts';
import { glance, handshakes, identity } from './sidecar-rows.ts';
import { edges, sidecars, traffic } from './traffic-rows.ts';

/** Everything that the dashboard shows, from what a person looks at first. */
export const rows: readonly Row[] = [glance, handshakes, identity, traffic, edges, sidecars, controlPlane];

/** The same in every Grafana, so that a newer dashboard replaces an older one. */
export const dashboardUid = 'remora';

/** Of Grafana 10.4 and 11; later ones bring it to theirs when they load it. */
const schemaVersion = 39;

const datasource = { type: 'prometheus', uid: '$datasource' };

/** The dashboard as Grafana imports it. */
export function dashboard(): Dashboard {
  const builder = new DashboardBuilder('Remora')
    .uid(dashboardUid)
    .description('Sidecars and control plane of a Remora mesh: identities, handshakes, connections, refusals')
    .tags(['remora', 'service-mesh'])
    .tooltip(DashboardCursorSync.Crosshair)
    .time({ from: 'now-1h', to: 'now' })
    .refresh('30s')
    .withVariable(new DatasourceVariableBuilder('datasource').label('Data source').type('prometheus'));
  for (const name of variables) builder.withVariable(variableOf(name));
  let id = 0;
  for (const { title, panels } of rows) {
    id += 1;
    builder.withRow(new RowBuilder(title).id(id));
    for (const panel of panels) {
      id += 1;
      builder.withPanel(panelBuilder(panel).id(id));
    }
  }
  return { ...builder.build(), schemaVersion };
}

/** Only those are offered that go with what is chosen in the variables before it. */
function variableOf(name: (typeof variables)[number]): QueryVariableBuilder {
  const before = variables.slice(0, variables.indexOf(name)).map((one) => `${one}=~"$${one}"`);
  return (
    new QueryVariableBuilder(name)
      .label(`${name.charAt(0).toUpperCase()}${name.slice(1)}`)
      .datasource(datasource)
      .query(`label_values(remora_build_info{${before.join(', ')}}, ${name})`)
      .refresh(VariableRefresh.OnTimeRangeChanged)
      .sort(VariableSort.AlphabeticalAsc)
      .multi(true)
      .includeAll(true)
      // Also what a Prometheus without our scrape configuration gives no such label.
      .allValue('.*')
      .current({ selected: true, text: 'All', value: '$__all' })
  );
}

function panelBuilder(panel: Panel): LinesBuilder | NumberBuilder | StatesBuilder {
  const { title, description, unit, queries, steps, emptyBecause } = panel;
  const builder = ofKind(panel);
  builder.title(title).description(description).datasource(datasource).unit(unit);
  if (emptyBecause !== undefined) builder.noValue(`None: ${emptyBecause}`);
  if (steps !== undefined) builder.thresholds(thresholdsOf(steps));
  for (const [index, { expression, legend }] of queries.entries()) {
    const query = new DataqueryBuilder()
      .refId(String.fromCharCode(65 + index))
      .expr(expression)
      .legendFormat(legend);
    builder.withTarget(panel.kind === 'number' ? query.instant() : query.range());
  }
  return builder;
}

function ofKind({ kind, steps }: Panel): LinesBuilder | NumberBuilder | StatesBuilder {
  switch (kind) {
    case 'lines':
      return linesBuilder(steps !== undefined);
    case 'number':
      return new NumberBuilder()
        .span(3)
        .height(4)
        .colorMode(BigValueColorMode.Value)
        .graphMode(BigValueGraphMode.None)
        .reduceOptions(new ReduceDataOptionsBuilder().calcs(['lastNotNull']));
    case 'states':
      return new StatesBuilder()
        .span(12)
        .height(8)
        .showValue(VisibilityMode.Never)
        .colorScheme(new FieldColorBuilder().mode(FieldColorModeId.Thresholds))
        .mappings([{ type: MappingType.ValueToText, options: { 0: { text: 'Off' }, 1: { text: 'On' } } }]);
    default:
      throw new TypeError(`Unknown kind ${kind satisfies never}`);
  }
}

function linesBuilder(hasSteps: boolean): LinesBuilder {
  const builder = new LinesBuilder()
    .span(12)
    .height(8)
    .lineWidth(1)
    .fillOpacity(10)
    .showPoints(VisibilityMode.Never)
    .legend(
      new VizLegendOptionsBuilder()
        .displayMode(LegendDisplayMode.List)
        .placement(LegendPlacement.Bottom)
        .showLegend(true),
    )
    .tooltip(new VizTooltipOptionsBuilder().mode(TooltipDisplayMode.Multi).sort(SortOrder.Descending));
  return hasSteps
    ? builder.thresholdsStyle(new GraphThresholdsStyleConfigBuilder().mode(GraphThresholdsStyleMode.Dashed))
    : builder;
}

function thresholdsOf(steps: readonly Step[]): ThresholdsConfigBuilder {
  return new ThresholdsConfigBuilder()
    .mode(ThresholdsMode.Absolute)
    .steps(steps.map(({ from, color }) => ({ value: from, color })));
}
