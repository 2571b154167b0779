/*
 * From a definition - the flat keys of a location - to an open blk. Definitions are the
 * user's own words, or plain paths made by stack.c: what an image names comes here only
 * after stack.c has decided to open it.
 */
#ifndef CMD_NODE_H
#define CMD_NODE_H

#include "formats/format.h"
#include "lib/chain.h"

/* Which of the backing files is opened for writing. */
struct node_base {
	const char *name; /* NULL: the uppermost */
	bool found;
	bool failed; /* the error is of opening that one: nothing is put before it */
};

/* What a node gets from the request and from the node above it. */
struct node_env {
	unsigned io;		/* IO_*; IO_WRITE says that the node is to be written */
	unsigned image;		/* IMAGE_* without IMAGE_WRITE */
	bool no_backing;	/* as in struct stack_request */
	struct node_base *base; /* or NULL; of the chain of the request's own image */
};

/* Opens a definition as an image. A protocol alone is an image, too, of a format that is
 * called as the protocol. External data files are opened, backing files are not. */
struct image *node_open(const struct opts *def, const struct node_env *env, struct err *err);

/* The file below: the keys "CHILD." of the definition. No driver among them means a
 * local file; nothing is probed. */
struct blk *node_open_child(const struct opts *def, const char *child,
			    const struct node_env *env, struct err *err);

/* Is anything said of this child, as "CHILD=" or "CHILD.key="? */
bool node_has_child(const struct opts *def, const char *child);

/* detect-zeroes of a definition that has been opened: its value is known to be good. */
enum chain_detect node_detect(const struct opts *def);

/* For a plain name that the user typed, whose keys begin with `at` ("file."): is there
 * such a protocol, and if it has no file names, is the name just its scheme? That is then
 * taken out. A name of which the protocol makes keys is replaced by them. */
int node_settle_name(struct opts *def, const char *at, struct err *err);

/* The path of the local file at the bottom of the definition; NULL: it is something
 * else. Borrowed. */
const char *node_path(const struct opts *def);

/* The driver of a file's definition: what it says, or the one for its local file. */
const char *node_driver(const struct opts *def);

/* Names the image opened by the definition as the peer does. typed: numbers and booleans
 * of the definition were JSON's. In title.c. */
int node_title(const struct opts *def, struct image *image, bool typed, struct err *err);

/* In stack.c, for what the image at the definition names. */
/* The image and what it is backed by. Takes the image over, also on failure. */
struct chain *stack_chain(const struct opts *def, struct image *image,
			  const struct node_env *env, struct err *err);
/* Opens image->file[], and tells the format. */
int stack_attach_files(const struct opts *def, struct image *image, const struct node_env *env,
		       struct err *err);
/* So many files are going to be open: the process may have to ask for room. */
void stack_expect_files(size_t files);
struct blk *stack_data_file(const struct opts *def, const struct image *image,
			    const struct node_env *env, struct err *err);

#endif
