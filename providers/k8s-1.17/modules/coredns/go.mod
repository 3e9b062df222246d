module parbake.example/coredns

go 1.16

require github.com/coredns/coredns v1.6.5

// A main module must repeat the replacements of the module it builds.
replace (
	github.com/Azure/go-autorest => github.com/Azure/go-autorest v13.0.0+incompatible
	github.com/miekg/dns v1.1.3 => github.com/miekg/dns v1.1.22
)
