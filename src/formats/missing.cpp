#include "formats/missing.h"

#include <fmt/format.h>

#include <algorithm>

#include "formats/edit_distance.h"
#include "formats/json.h"

namespace headscope {

namespace {

/// The name that differs from `wanted` by the fewest letters; empty when there is none. Gives up
/// looking after a fixed amount of work, so that a file of a million names cannot hold us.
std::string_view nearest(std::string_view wanted,
                         const std::map<std::string, AnyView, std::less<>>& tensors) {
  constexpr std::size_t kBudget = 20'000'000;
  std::string_view best;
  std::size_t best_distance = wanted.size() + 1024;
  std::size_t work = 0;
  for (const auto& [name, view] : tensors) {
    const std::size_t longer = std::max(name.size(), wanted.size());
    const std::size_t least = longer - std::min(name.size(), wanted.size());
    if (least >= best_distance) continue;
    work += (name.size() + 1) * (wanted.size() + 1);
    if (work > kBudget) break;
    const std::size_t distance = edit_distance(wanted, name);
    if (distance < best_distance) {
      best = name;
      best_distance = distance;
    }
  }
  return best;
}

}  // namespace

void missing_tensor(std::string_view file,
                    std::string_view name,
                    const std::map<std::string, AnyView, std::less<>>& tensors) {
  const std::string_view near = nearest(name, tensors);
  throw Error(ErrorCode::kNotFound,
              fmt::format("[{}] expected a tensor {}, found {}",
                          file,
                          json::quote(name),
                          tensors.empty() ? "no tensors"
                          : near.empty()  ? "none of that name"
                                          : "none; the nearest name is " + json::quote(near)));
}

}  // namespace headscope
