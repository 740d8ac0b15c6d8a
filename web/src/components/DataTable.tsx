import type { ReactNode } from 'react';
import classes from './DataTable.module.css';

export interface Column<T> {
  head: string;
  cell: (row: T) => ReactNode;
  /** num: figures, not broken; wide: takes two places in narrow pages; actions: at the end, its head is only spoken. */
  kind?: 'num' | 'wide' | 'actions';
}

interface TableProps<T> {
  caption: string;
  columns: readonly Column<T>[];
  rows: readonly T[];
  keyOf: (row: T) => string;
  /** Attributes of a row for tests. */
  testId?: (row: T) => string;
}

/** A table that becomes a list of cards where there is no room for columns. The first column names the row. */
export function DataTable<T>({ caption, columns, rows, keyOf, testId }: TableProps<T>) {
  return (
    <div className={`card ${classes.wrap}`}>
      <table className={classes.table} style={{ '--columns': columns.length } as React.CSSProperties}>
        <caption className="visually-hidden">{caption}</caption>
        <thead>
          <tr>
            {columns.map((c) => (
              <th key={c.head} scope="col">
                {c.kind === 'actions' ? <span className="visually-hidden">{c.head}</span> : c.head}
              </th>
            ))}
          </tr>
        </thead>
        <tbody>
          {rows.map((row) => (
            <tr key={keyOf(row)} className={classes.row} data-testid={testId?.(row)}>
              {columns.map((c, i) =>
                i === 0 ? (
                  <th key={c.head} scope="row">
                    {c.cell(row)}
                  </th>
                ) : (
                  <td key={c.head} data-label={c.kind === 'actions' ? undefined : c.head} className={c.kind === 'num' ? 'num' : c.kind ? classes[c.kind] : undefined}>
                    {c.cell(row)}
                  </td>
                ),
              )}
            </tr>
          ))}
        </tbody>
      </table>
    </div>
  );
}

/** A second, quieter line in a cell. */
export function Under({ children }: { children: ReactNode }) {
  return <span className={classes.under}>{children}</span>;
}
