# Completion of muga for bash. Verbs and options come from the program's own help, so they are always its own.
# Installed as share/bash-completion/completions/muga; or: source deploy/completion.bash

_muga() {
    local word=${COMP_WORDS[COMP_CWORD]} muga=${COMP_WORDS[0]} first=${COMP_WORDS[1]-} second=${COMP_WORDS[2]-}
    local help below words
    COMPREPLY=()
    if [ "$COMP_CWORD" -eq 1 ]; then
        words=$("$muga" help 2>/dev/null | sed -n 's/^  \([a-z][a-z]*\)  .*/\1/p')
        mapfile -t COMPREPLY < <(compgen -W "$words" -- "$word")
        return
    fi
    help=$("$muga" help "$first" 2>/dev/null)
    below=
    case $help in
    "usage: muga $first VERB"*) below=$(printf '%s\n' "$help" | sed -n 's/^  \([a-z][a-z]*\).*/\1/p') ;;
    esac
    if [ -n "$below" ] && [ "$COMP_CWORD" -eq 2 ]; then
        mapfile -t COMPREPLY < <(compgen -W "$below" -- "$word")
        return
    fi
    case $word in
    -*)
        [ -z "$below" ] || help=$("$muga" help "$first" "$second" 2>/dev/null)
        words=$(printf '%s\n' "$help" | sed -n 's/^  \(-[a-z], \)\{0,1\}\(--[a-z-]*\).*/\2/p')
        mapfile -t COMPREPLY < <(compgen -W "$words" -- "$word")
        return
        ;;
    esac
    words=
    case $first in
    run | show | cp | rm | stop | create | quantize | train | merge | embed | classify | perplexity | bench | debug)
        words=$("$muga" list 2>/dev/null | sed -n '2,$s/^\([a-z0-9._-]*\).*/\1/p')
        ;;
    agent | data) words=$("$muga" agent list 2>/dev/null | sed -n '2,$s/ .*//p') ;;
    approve) words=$("$muga" approve list 2>/dev/null | sed -n 's/^\([0-9a-z]\{4\}-[0-9a-z]\{4\}\) .*/\1/p') ;;
    session) words=$("$muga" session list 2>/dev/null | sed -n 's/^\(s-[0-9a-z]*\) .*/\1/p') ;;
    key) words=$("$muga" key list 2>/dev/null | sed -n '2,$s/ .*//p') ;;
    help) words=$("$muga" help 2>/dev/null | sed -n 's/^  \([a-z][a-z]*\)  .*/\1/p') ;;
    esac
    mapfile -t COMPREPLY < <(compgen -W "$words" -- "$word")
}
complete -o default -F _muga muga
