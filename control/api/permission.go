package api

// Role of a person or token. Each may do what those before may.
type Role string

// Roles: a viewer reads, an operator promotes and switches back, an admin
// manages people.
const (
	RoleViewer   Role = "viewer"
	RoleOperator Role = "operator"
	RoleAdmin    Role = "admin"
)

// public routes need nobody signed in.
const public Role = ""

var rank = map[Role]int{public: 0, RoleViewer: 1, RoleOperator: 2, RoleAdmin: 3}

// may tells whether a role suffices.
func (r Role) may(needed Role) bool { return rank[r] >= rank[needed] }

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

	"POST " + Prefix + "/clusters/{id}/promotions": RoleOperator,
	"POST " + Prefix + "/operations/{id}/undo":     RoleOperator,
}

// unaudited are the routes that change nothing although they are not GET, or
// whose attempts are recorded by their own handler in every case.
var unaudited = map[string]bool{
	"POST " + Prefix + "/clusters/{id}/plan": true,
	"POST " + Prefix + "/logout":             true,
	"POST " + Prefix + "/login":              true,
	"POST " + Prefix + "/setup":              true,
}
