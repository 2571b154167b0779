# complete.zsh SCRIPT LINE...: what zsh offers at the end of each LINE, in one line for each
zmodload zsh/zpty
typeset -x HITS=$PWD/.hits
zpty shell zsh -f -i
zpty -w shell "PS1= PS2=; HITS=$HITS; autoload -U compinit && compinit -u -D; source $1"
zpty -w shell 'compadd() {
	local -a hits
	if [[ ${@[1,(i)(-|--)]} == *-(O|A|D)\ * ]]; then builtin compadd "$@"; return; fi
	builtin compadd -A hits "$@"
	print -rl -- $hits >>$HITS
	builtin compadd "$@"
}
zle_end() { print -r -- END >>$HITS; zle kill-whole-line }
zle -N zle_end; bindkey "^X" zle_end; bindkey "^I" complete-word; unsetopt beep; LISTMAX=0; zstyle ":completion:*" list-prompt ""'
zpty -w shell 'print -r -- END >>$HITS'
await() {
	local i out
	for i in {1..200}; do
		while zpty -r -t shell out; do :; done
		[[ -e $HITS && "$(tail -n 1 $HITS)" == END ]] && return
		sleep 0.05
	done
	print -r -- TIMEOUT
}
await
shift
for line; do
	: >$HITS
	zpty -w -n shell "$line"$'\t'$'\x18'
	await
	print -r -- ${(j: :)${(ou)${(f)"$(grep -v '^END$' $HITS)"}}}
done
zpty -d shell
