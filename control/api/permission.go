package api

import "slices"

// Role of a person or token.
type Role string

// Roles: a viewer reads; an auditor also checks and exports the audit; an
// operator promotes, switches back, backs up and maintains; an approver is an
// operator who also lets go on what others asked for; an admin may do
// everything: what loses data, policy, people.
const (
	RoleViewer   Role = "viewer"
	RoleAuditor  Role = "auditor"
	RoleOperator Role = "operator"
	RoleApprover Role = "approver"
	RoleAdmin    Role = "admin"
)

// public routes need nobody signed in.
const public Role = ""

// includes says for each role whose work it may do.
var includes = map[Role][]Role{
	RoleViewer:   {RoleViewer},
	RoleAuditor:  {RoleViewer, RoleAuditor},
	RoleOperator: {RoleViewer, RoleOperator},
	RoleApprover: {RoleViewer, RoleOperator, RoleApprover},
	RoleAdmin:    {RoleViewer, RoleAuditor, RoleOperator, RoleApprover, RoleAdmin},
}

// may tells whether a role suffices. A role that is not known suffices for
// nothing.
func (r Role) may(needed Role) bool { return slices.Contains(includes[r], needed) }

// permissions is the whole of authorization: route pattern to the role it
// needs. What is not in it is refused. A route that is public says why.
var permissions = map[string]Role{
	"GET " + Prefix + "/setup-state":  public, // the page must know whether to ask for set-up or sign-in
	"POST " + Prefix + "/setup":       public, // needs the one-use token
	"POST " + Prefix + "/login":       public, // this is how one signs in
	"GET " + Prefix + "/version":      public, // tells no more than the binary's own help
	"GET " + Prefix + "/openapi.json": public, // describes the product, no installation
	"GET " + Prefix + "/docs":         public, // the same for people
	"/":                               public, // the dashboard's own files, no data

	"POST " + Prefix + "/logout":                           RoleViewer,
	"GET " + Prefix + "/session":                           RoleViewer,
	"GET " + Prefix + "/clusters":                          RoleViewer,
	"GET " + Prefix + "/clusters/{id}":                     RoleViewer,
	"GET " + Prefix + "/clusters/{id}/nodes/{node}/report": RoleViewer,
	"POST " + Prefix + "/clusters/{id}/plan":               RoleViewer, // changes nothing
	"GET " + Prefix + "/clusters/{id}/audit":               RoleViewer,
	"GET " + Prefix + "/operations/{id}":                   RoleViewer,
	"GET " + Prefix + "/events":                            RoleViewer,
	"GET " + Prefix + "/hosts":                             RoleViewer,
	"GET " + Prefix + "/providers":                         RoleViewer,
	"GET " + Prefix + "/control":                           RoleViewer,

	"POST " + Prefix + "/hosts/join-token":                RoleAdmin, // lets a machine in
	"DELETE " + Prefix + "/hosts/{id}":                    RoleAdmin,
	"POST " + Prefix + "/hosts/ssh":                       RoleAdmin,
	"GET " + Prefix + "/hosts/tasks/{id}":                 RoleViewer,
	"GET " + Prefix + "/provider-accounts":                RoleOperator,
	"POST " + Prefix + "/provider-accounts":               RoleAdmin, // takes credentials
	"DELETE " + Prefix + "/provider-accounts/{name}":      RoleAdmin,
	"GET " + Prefix + "/provider-accounts/{name}/options": RoleOperator, // asks the provider
	"GET " + Prefix + "/machines":                         RoleViewer,
	"POST " + Prefix + "/hosts/create":                    RoleAdmin, // costs money and lets a machine in
	"POST " + Prefix + "/machines/{id}/delete":            RoleAdmin,
	"GET " + Prefix + "/program":                          public,    // the program itself, nothing of this installation
	"POST " + Prefix + "/control/join-token":              RoleAdmin, // hands out the authority's key
	"DELETE " + Prefix + "/control/{name}":                RoleAdmin,

	"POST " + Prefix + "/clusters/{id}/lost-writes/{bundle}/remove": RoleAdmin, // the last copy of what was acknowledged

	"GET " + Prefix + "/clusters/{id}/what-if":                   RoleViewer,
	"GET " + Prefix + "/clusters/{id}/lost-writes":               RoleViewer,
	"POST " + Prefix + "/clusters/{id}/failover":                 RoleOperator, // accepting loss needs an admin, see its handler
	"POST " + Prefix + "/clusters/{id}/failover/pause":           RoleOperator,
	"POST " + Prefix + "/clusters/{id}/failover/acknowledge":     RoleOperator,
	"GET " + Prefix + "/backups":                                 RoleViewer,
	"GET " + Prefix + "/clusters/{id}/backups":                   RoleViewer,
	"POST " + Prefix + "/clusters/{id}/backups":                  RoleOperator,
	"POST " + Prefix + "/clusters/{id}/backups/{backup}/verify":  RoleOperator,
	"POST " + Prefix + "/clusters/{id}/backups/{backup}/restore": RoleOperator, // in place needs an admin, see its handler
	"POST " + Prefix + "/clusters/{id}/backups/{backup}/delete":  RoleAdmin,
	"POST " + Prefix + "/clusters/{id}/drill":                    RoleOperator,
	"GET " + Prefix + "/backup-targets":                          RoleViewer,
	"POST " + Prefix + "/backup-targets":                         RoleAdmin, // takes credentials
	"DELETE " + Prefix + "/backup-targets/{name}":                RoleAdmin,

	"POST " + Prefix + "/clusters/{id}/promotions": RoleOperator,
	"POST " + Prefix + "/operations/{id}/undo":     RoleOperator,

	"GET " + Prefix + "/engines":                                 RoleViewer,
	"POST " + Prefix + "/clusters":                               RoleOperator,
	"POST " + Prefix + "/clusters/adopt":                         RoleOperator,
	"POST " + Prefix + "/clusters/adopt/preview":                 RoleOperator, // logs in to an address with a password
	"POST " + Prefix + "/clusters/{id}/delete":                   RoleAdmin,
	"POST " + Prefix + "/clusters/{id}/nodes":                    RoleOperator,
	"POST " + Prefix + "/clusters/{id}/nodes/{node}/remove":      RoleOperator,
	"POST " + Prefix + "/clusters/{id}/nodes/{node}/resync":      RoleOperator,
	"POST " + Prefix + "/clusters/{id}/nodes/{node}/maintenance": RoleOperator,
	"PUT " + Prefix + "/clusters/{id}/nodes/{node}/tags":         RoleOperator,
	"GET " + Prefix + "/clusters/{id}/settings":                  RoleViewer,
	"PUT " + Prefix + "/clusters/{id}/settings":                  RoleAdmin,
	"GET " + Prefix + "/clusters/{id}/parameters":                RoleViewer,
	"PUT " + Prefix + "/clusters/{id}/parameters":                RoleOperator,
	"POST " + Prefix + "/clusters/{id}/restart":                  RoleOperator,
	"GET " + Prefix + "/clusters/{id}/users":                     RoleOperator,
	"POST " + Prefix + "/clusters/{id}/users":                    RoleAdmin,
	"POST " + Prefix + "/clusters/{id}/users/{name}/rotate":      RoleAdmin,
	"DELETE " + Prefix + "/clusters/{id}/users/{name}":           RoleAdmin,

	"GET " + Prefix + "/clusters/{id}/streams":         RoleViewer, // those of the system need an operator, see its handler
	"GET " + Prefix + "/clusters/{id}/streams/events":  RoleViewer, // so do their events
	"POST " + Prefix + "/clusters/{id}/streams/events": RoleOperator,
	"POST " + Prefix + "/clusters/{id}/streams/delete": RoleAdmin,

	"GET " + Prefix + "/clusters/{id}/subscriptions":                 RoleViewer,
	"GET " + Prefix + "/clusters/{id}/subscriptions/info":            RoleViewer,
	"POST " + Prefix + "/clusters/{id}/subscriptions":                RoleOperator,
	"PUT " + Prefix + "/clusters/{id}/subscriptions":                 RoleOperator,
	"POST " + Prefix + "/clusters/{id}/subscriptions/replay":         RoleOperator,
	"POST " + Prefix + "/clusters/{id}/subscriptions/delete":         RoleAdmin, // its checkpoint is lost
	"GET " + Prefix + "/clusters/{id}/projections":                   RoleViewer,
	"GET " + Prefix + "/clusters/{id}/projections/info":              RoleViewer,
	"GET " + Prefix + "/clusters/{id}/projections/state":             RoleViewer, // of the system's own an operator, see its handler
	"POST " + Prefix + "/clusters/{id}/projections":                  RoleOperator,
	"PUT " + Prefix + "/clusters/{id}/projections":                   RoleOperator,
	"POST " + Prefix + "/clusters/{id}/projections/command":          RoleOperator,
	"POST " + Prefix + "/clusters/{id}/projections/delete":           RoleAdmin,
	"GET " + Prefix + "/clusters/{id}/store-users":                   RoleAdmin,
	"POST " + Prefix + "/clusters/{id}/store-users":                  RoleAdmin,
	"PUT " + Prefix + "/clusters/{id}/store-users/{login}":           RoleAdmin,
	"POST " + Prefix + "/clusters/{id}/store-users/{login}/password": RoleAdmin,
	"POST " + Prefix + "/clusters/{id}/store-users/{login}/delete":   RoleAdmin,
	"GET " + Prefix + "/clusters/{id}/store-login":                   RoleViewer, // the name, never the password
	"PUT " + Prefix + "/clusters/{id}/store-login":                   RoleAdmin,  // takes credentials
	"DELETE " + Prefix + "/clusters/{id}/store-login":                RoleAdmin,

	"GET " + Prefix + "/clusters/{id}/endpoint": RoleViewer,
	"PUT " + Prefix + "/clusters/{id}/endpoint": RoleAdmin, // opens a port to a cluster

	"GET " + Prefix + "/terminal/sessions":           RoleViewer,
	"POST " + Prefix + "/terminal/tickets":           RoleOperator, // an admin's and an OS shell need an admin, see its handler
	"GET " + Prefix + "/terminal":                    RoleOperator, // and a ticket
	"POST " + Prefix + "/terminal/sessions/{id}/end": RoleOperator, // one's own; an admin any
	"GET " + Prefix + "/terminal/recordings/{id}":    RoleViewer,   // one's own; an auditor any
	"GET " + Prefix + "/terminal/settings":           RoleViewer,
	"PUT " + Prefix + "/terminal/settings":           RoleAdmin,

	"GET " + Prefix + "/activity":                              RoleViewer,
	"GET " + Prefix + "/clusters/{id}/incidents/{operation}":   RoleViewer,
	"GET " + Prefix + "/audit/verify":                          RoleAuditor, // reads every record
	"GET " + Prefix + "/audit/export":                          RoleAuditor,
	"GET " + Prefix + "/alerts":                                RoleViewer,
	"POST " + Prefix + "/alerts/{id}/acknowledge":              RoleOperator,
	"GET " + Prefix + "/notifications":                         RoleAdmin, // addresses of webhooks may be secrets
	"PUT " + Prefix + "/notifications":                         RoleAdmin,
	"POST " + Prefix + "/notifications/test":                   RoleAdmin,
	"GET " + Prefix + "/clusters/{id}/history":                 RoleViewer,
	"GET " + Prefix + "/clusters/{id}/availability":            RoleViewer,
	"GET " + Prefix + "/users":                                 RoleAdmin,
	"POST " + Prefix + "/users":                                RoleAdmin,
	"PUT " + Prefix + "/users/{name}":                          RoleAdmin,
	"POST " + Prefix + "/users/{name}/password":                RoleAdmin,
	"DELETE " + Prefix + "/users/{name}":                       RoleAdmin,
	"POST " + Prefix + "/set-password":                         public, // needs the one-use token
	"POST " + Prefix + "/me/password":                          RoleViewer,
	"GET " + Prefix + "/tokens":                                RoleViewer, // one's own; an admin sees all
	"POST " + Prefix + "/tokens":                               RoleViewer, // of at most one's own role
	"DELETE " + Prefix + "/tokens/{id}":                        RoleViewer, // one's own
	"GET " + Prefix + "/clusters/{id}/schedules":               RoleViewer,
	"DELETE " + Prefix + "/clusters/{id}/schedules/{schedule}": RoleOperator,
	"GET " + Prefix + "/approvals":                             RoleViewer,
	"POST " + Prefix + "/approvals/{id}/approve":               RoleApprover,
	"POST " + Prefix + "/approvals/{id}/reject":                RoleApprover,
	"POST " + Prefix + "/operations/{id}/cancel":               RoleOperator,
}

// unaudited are the routes that change nothing although they are not GET, or
// whose attempts are recorded by their own handler in every case.
var unaudited = map[string]bool{
	"POST " + Prefix + "/clusters/{id}/plan":     true,
	"POST " + Prefix + "/clusters/adopt/preview": true,
	"POST " + Prefix + "/logout":                 true,
	"POST " + Prefix + "/login":                  true,
	"POST " + Prefix + "/setup":                  true,
	"POST " + Prefix + "/set-password":           true,
}
