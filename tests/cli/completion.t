#!/bin/bash
# The completion scripts, run by each shell that is there.
. "${0%/*}/../tap.sh"

ok -n 'a script for bash' platter completion bash
cp .out bash.sh
ok -n 'it parses' bash -n bash.sh
# shellcheck source=/dev/null
. ./bash.sh
compopt() { :; } # there is no readline here

# complete LINE: what bash would offer at the end of LINE
complete_line() {
	COMPREPLY=()
	COMP_LINE=$1
	COMP_POINT=${#1}
	_platter
	echo "${COMPREPLY[*]}"
}
COMP_WORDBREAKS=$' \t\n"\'><=;|&(:'
touch disk.qcow2 'a b.raw'

is "$(complete_line 'platter cre')" 'create' 'a command'
like "$(complete_line 'platter ')" 'create .*info .*help' 'all commands'
unlike "$(complete_line 'platter m')" 'man' 'but not the hidden one'
is "$(complete_line 'platter help in')" 'info' 'help of a command'
is "$(complete_line 'platter completion z')" 'zsh' 'a shell'
is "$(complete_line 'platter info --ba')" '--backing-chain' 'a long option'
like "$(complete_line 'platter info -')" '-f --format' 'all options'
is "$(complete_line 'platter info --output ')" 'human json' 'the words of an option'
is "$(complete_line 'platter info --output j')" 'json' 'one word'
is "$(complete_line 'platter info --output=j')" 'json' 'after an equals sign'
is "$(complete_line 'platter info -f vhd')" 'vhdx' 'a format'
is "$(complete_line 'platter info dis')" 'disk.qcow2' 'a file'
is "$(complete_line 'platter info -f qcow2 a')" 'a b.raw' 'a file with a blank in its name'
is "$(complete_line 'platter create -f qcow2 -b di')" 'disk.qcow2' 'the file of an option'
is "$(complete_line 'platter create -f raw -o prea')" 'preallocation=' 'a key of a format'
is "$(complete_line 'platter create -f raw -o preallocation=fu')" 'full' "a key's value"
is "$(complete_line 'platter create -o size=1M,noc')" '1M,nocow=' 'the second key of a list'
is "$(complete_line 'platter convert --for v')" 'vsphere virtualbox' 'a target'
COMP_WORDBREAKS=$' \t\n'
is "$(complete_line 'platter info --output=j')" '--output=json' 'where = does not break words'
is "$(complete_line 'platter create -o size=1M,noc')" 'size=1M,nocow=' 'and in a list'

# Every option that is shown in help is in every script.
for shell in bash zsh fish; do
	ok -n "a script for $shell" platter completion $shell
	cp .out "$shell.txt"
	missing=
	for c in create info map check; do
		for o in $(platter $c --help | grep -o -e '--[a-z-]*' | sort -u); do
			grep -q -e "--$c\|$c" "$shell.txt" || missing+=" $c"
			case $shell in
			fish) grep -q "from $c'.* -l ${o#--} " "$shell.txt" ;;
			*) grep -q -e "$o" "$shell.txt" ;;
			esac || missing+=" $c:$o"
		done
	done
	is "$missing" '' "$shell: no option is missing"
done

# What is typed, and all that is offered then.
lines=(
	'platter cre' create
	'platter info --ba' --backing-chain
	'platter info -f vhd' vhdx
	'platter info --output=j' json
	'platter info --output j' json
	'platter info dis' disk.qcow2
	'platter help in' info
	'platter completion z' zsh
	'platter create -f qcow2 -b di' disk.qcow2
	'platter bench -i nat' native
	'platter dd -O vhd' vhdx
	'platter compare disk.qcow2 --st' --strict
)
of_fish() {
	local line
	for line; do
		# what follows a tab is the description
		fish --no-config -c "source fish.txt; complete -C '$line'" | cut -f 1 |
			sed 's/^--output=//' | paste -s -d ' ' -
	done
}
of_zsh() { zsh -f "$TOP/tests/cli/complete.zsh" zsh.txt "$@"; }
for shell in zsh fish; do
	if ! command -v $shell >/dev/null; then
		skip $((1 + ${#lines[@]} / 2)) "no $shell here"
		continue
	fi
	ok -n "$shell parses it" $shell -n $shell.txt
	typed=()
	for ((i = 0; i < ${#lines[@]}; i += 2)); do typed+=("${lines[i]}"); done
	mapfile -t got < <(HOME=$T XDG_DATA_HOME=$T "of_$shell" "${typed[@]}" 2>&1)
	for ((i = 0; i < ${#typed[@]}; i++)); do
		is "${got[i]-}" "${lines[2 * i + 1]}" "$shell: ${typed[i]}"
	done
done

exits 1 -n 'no shell' platter completion
like "$err" 'bash, zsh or fish' 'says which there are'
exits 1 -n 'an unknown shell' platter completion tcsh
exits 1 -n 'not a command of qemu-img' qimg completion bash
done_testing
