// nft, as far as start-up and a look at the rules need it: a file of commands, or commands from the arguments.
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

// From the library's header, which is not there for every processor.
struct nft_ctx;
struct nft_ctx *nft_ctx_new(uint32_t flags);
void nft_ctx_free(struct nft_ctx *ctx);
void nft_ctx_set_dry_run(struct nft_ctx *ctx, bool dry);
int nft_run_cmd_from_buffer(struct nft_ctx *nft, const char *buf);
int nft_run_cmd_from_filename(struct nft_ctx *nft, const char *filename);

static const char usage[] = "usage: nft [-c] -f FILE\n       nft [-c] COMMAND...\n"
	"  -c   only check\n  -f   commands from FILE, or from standard input where it is -\n";

int main(int argc, char **argv)
{
	const char *file = NULL;
	bool check = false;
	int option, status;

	// + : options of the commands are theirs.
	while ((option = getopt(argc, argv, "+cf:h")) != -1) {
		switch (option) {
		case 'c':
			check = true;
			break;
		case 'f':
			file = optarg;
			break;
		case 'h':
			fputs(usage, stdout);
			return 0;
		default:
			fputs(usage, stderr);
			return 2;
		}
	}
	if ((file == NULL) == (optind == argc)) {
		fputs(usage, stderr);
		return 2;
	}

	struct nft_ctx *nft = nft_ctx_new(0);
	if (nft == NULL) {
		fputs("nft: no netlink socket\n", stderr);
		return 1;
	}
	nft_ctx_set_dry_run(nft, check);
	if (file != NULL) {
		status = nft_run_cmd_from_filename(nft, strcmp(file, "-") == 0 ? "/dev/stdin" : file);
	} else {
		size_t length = 1;
		for (int i = optind; i < argc; i++)
			length += strlen(argv[i]) + 1;
		char *text = calloc(1, length);
		if (text == NULL)
			return 1;
		for (int i = optind; i < argc; i++) {
			strcat(text, argv[i]);
			strcat(text, " ");
		}
		status = nft_run_cmd_from_buffer(nft, text);
		free(text);
	}
	nft_ctx_free(nft);
	return status == 0 ? 0 : 1;
}
