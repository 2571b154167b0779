/*
 * Dispatch by the name we were called with and by the command's word.
 */
#include "cmd/cmd.h"

#include <stdio.h>

int main(int argc, char **argv)
{
	fprintf(stderr, "platter: no commands yet\n");
	return 1;
}
