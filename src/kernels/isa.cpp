#include "kernels/isa.h"

#include <fmt/format.h>

#include <algorithm>
#include <atomic>
#include <cstdlib>
#include <list>
#include <string>

#include "headscope/error.h"
#include "kernels/highway.h"
#include "kernels/linear_bodies.h"

namespace headscope::kernels {

namespace {

std::atomic<const Table*>& in_use() {
  static std::atomic<const Table*> table{nullptr};
  return table;
}

const Table* find(std::string_view name) {
  for (const Table* t : tables()) {
    if (t->name == name) return t;
  }
  return nullptr;
}

std::string names() {
  std::string all;
  for (const Table* t : tables()) all += (all.empty() ? "" : ", ") + std::string(t->name);
  return all;
}

const char* asked_for() {
  const char* name = std::getenv("HEADSCOPE_ISA");
  return name == nullptr || *name == '\0' ? "auto" : name;
}

// Puts a table behind the one named `of`, with the same bodies but for products with quantised weights
// (linear_bodies.h), which go by its own name.
void add_beside(std::vector<const Table*>& to,
                std::string_view of,
                std::string_view name,
                std::string_view what,
                bool first = false) {
  const auto at = std::find_if(to.begin(), to.end(), [&](auto* t) { return t->name == of; });
  if (at == to.end()) return;
  static std::list<Table> made;  // by tables(), once; they keep their places
  Table& table = made.emplace_back(**at);
  table.name = name;
  table.what = what;
  to.insert(first ? to.begin() + 1 : at + 1, &table);
}

}  // namespace

std::span<const Table* const> tables() {
  static const std::vector<const Table*> all = [] {
    std::vector<const Table*> found{&scalar_table()};
    for (const Table* t : highway_tables()) found.push_back(t);
    add_beside(
        found, "avx2", "model-vnni", "AVX2 with a model of int8 dot products, for tests", true);
    if (has_avx_vnni()) add_beside(found, "avx2", "avx2vnni", "AVX2 with int8 dot products");
    if (has_avx512_vnni())
      add_beside(found, "avx512", "avx512vnni", "AVX-512 with int8 dot products");
    return found;
  }();
  return all;
}

void use(std::string_view name) {
  const Table* chosen = name.empty() || name == "auto" ? tables().back() : find(name);
  if (chosen == nullptr) {
    throw Error(ErrorCode::kUsage,
                fmt::format("[isa] expected one of {} in HEADSCOPE_ISA, found {}", names(), name));
  }
  in_use() = chosen;
}

const Table& table() {
  if (in_use() == nullptr) use(asked_for());
  return *in_use();
}

std::vector<Isa> list() {
  const Table& chosen = table();
  const std::string asked = asked_for();
  std::vector<Isa> rows;
  for (const Table* t : tables()) {
    const bool is = t == &chosen;
    std::string why(t->what);
    if (is) why += asked == "auto" ? "; the fastest here" : "; asked for by HEADSCOPE_ISA";
    rows.push_back({std::string(t->name), true, is, why});
  }
  for (std::string_view absent :
       {"sse4", "avx2", "avx2vnni", "avx512", "avx512vnni", "avx512bf16", "amx"}) {
    if (find(absent) == nullptr)
      rows.push_back({std::string(absent), false, false, "not on this machine"});
  }
  return rows;
}

}  // namespace headscope::kernels
