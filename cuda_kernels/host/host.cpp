// What the library of CPU bodies has once: the entry into PyTorch's pool of threads, see host.hpp.
#include "host/host.hpp"

Region region = nullptr;

extern "C" void set_region(void* entry) { region = reinterpret_cast<Region>(entry); }
extern "C" int lanes() { return L; }
