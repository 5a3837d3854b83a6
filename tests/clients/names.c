/* Stands in for the resolver: names under `.moves.test` are looked up in the file that WEIR_TEST_NAMES names, whose lines are
 * `NAME ADDRESS`, several for a name with several; all others go to the real one. Put before it by LD_PRELOAD.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <netdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int getaddrinfo(const char *name, const char *service, const struct addrinfo *hints, struct addrinfo **found) {
  int (*real)(const char *, const char *, const struct addrinfo *, struct addrinfo **) = dlsym(RTLD_NEXT, "getaddrinfo");
  const char *suffix = ".moves.test";
  size_t length = name ? strlen(name) : 0;
  if (length < strlen(suffix) || strcmp(name + length - strlen(suffix), suffix) != 0) return real(name, service, hints, found);
  char known[256], address[256];
  int result = EAI_NONAME;
  const char *path = getenv("WEIR_TEST_NAMES");
  FILE *file = path ? fopen(path, "r") : NULL;
  if (!file) return result;
  while (fscanf(file, "%255s %255s", known, address) == 2) {
    struct addrinfo *more;
    if (strcmp(known, name) != 0 || real(address, service, hints, &more) != 0) continue;
    for (*found = more, result = 0; *found; found = &(*found)->ai_next) continue;
  }
  fclose(file);
  return result;
}
