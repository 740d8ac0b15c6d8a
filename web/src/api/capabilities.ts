/** Routes of the server this dashboard is built with, as "GET /clusters/{id}"; from openapi.json at build time. */
declare const __BATON_ROUTES__: string[];

const routes: ReadonlySet<string> = new Set(__BATON_ROUTES__);

/**
 * Whether the server has a route. A part of a page stands only where its
 * route does: a button that cannot work is not shown. "*" stands for all
 * routes, for work against the mock server.
 */
export function has(route: string): boolean {
  return routes.has('*') || routes.has(route);
}
