data() { docker image inspect --format "{{with index .GraphDriver.Data \"$1\"}}{{.}}{{end}}" "$2"; }
show() {
    upper=$(data UpperDir "$1")
    lower=$(data LowerDir "$1")
    show_layers "$upper" "$lower" "$2"
}
