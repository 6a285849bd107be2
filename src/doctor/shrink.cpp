#include "doctor/shrink.h"

#include <fmt/format.h>

#include <charconv>
#include <cstring>

#include "headscope/error.h"
#include "models/network.h"
#include "models/pruned.h"

namespace headscope::doctor {

namespace {

// Rows (axis 0) or columns (axis 1) of those numbers alone.
Tensor taken(const AnyView& from, std::size_t axis, std::span<const std::int64_t> kept) {
  Shape shape = from.shape;
  shape[axis] = static_cast<std::int64_t>(kept.size());
  Tensor out(from.dtype, shape);
  const std::int64_t columns = from.shape.size() == 2 ? from.shape[1] : 1;
  const auto size = static_cast<std::size_t>(bytes_of(from.dtype, 1));
  const auto* source = static_cast<const std::byte*>(from.data);
  std::byte* to = out.raw();
  const auto copy = [&](std::int64_t number, std::int64_t numbers) {
    const std::size_t bytes = static_cast<std::size_t>(numbers) * size;
    std::memcpy(to, source + static_cast<std::size_t>(number) * size, bytes);
    to += bytes;
  };
  if (axis == 0) {
    for (const std::int64_t row : kept) copy(row * columns, columns);
  } else {
    for (std::int64_t row = 0; row < from.shape[0]; ++row) {
      for (const std::int64_t column : kept) copy(row * columns + column, 1);
    }
  }
  return out;
}

// Numbers of heads `width` wide that stay, the first head's first number being `at`.
void append(std::vector<std::int64_t>& out,
            const models::AttentionFacts& a,
            const std::set<std::int64_t>& leaving,
            std::int64_t width,
            std::int64_t at) {
  for (std::int64_t h = 0; h < a.heads; ++h) {
    if (leaving.contains(h)) continue;
    for (std::int64_t d = 0; d < width; ++d) out.push_back(at + h * width + d);
  }
}

std::vector<std::int64_t> staying(const models::AttentionFacts& a,
                                  const std::set<std::int64_t>& leaving,
                                  std::int64_t width) {
  std::vector<std::int64_t> out;
  append(out, a, leaving, width, 0);
  return out;
}

// The number that a head had before any was lost.
std::int64_t first_number(std::int64_t head, const std::set<std::int64_t>& lost) {
  for (const std::int64_t gone : lost) head += gone <= head ? 1 : 0;
  return head;
}

// "3.0" -> "3.0" without heads before it; "" : it is gone.
std::string renumbered(const std::string& name, const Leaving& leaving) {
  int layer = 0;
  std::int64_t head = 0;
  const std::size_t dot = name.find('.');
  if (dot == name.npos) return name;
  const char* end = name.data() + name.size();
  if (std::from_chars(name.data(), name.data() + dot, layer).ec != std::errc() ||
      std::from_chars(name.data() + dot + 1, end, head).ec != std::errc())
    return name;
  const auto gone = leaving.find(layer);
  if (gone == leaving.end()) return name;
  if (gone->second.contains(head)) return "";
  const auto before = std::distance(gone->second.begin(), gone->second.lower_bound(head));
  return fmt::format("{}.{}", layer, head - before);
}

}  // namespace

std::string bound(const Model& model) {
  const models::Blueprint& b = model.network().blueprint();
  for (const models::LayerFacts& layer : b.layers) {
    if (std::string why = models::bound(layer.attention); !why.empty()) return why;
  }
  return "";
}

void Shrinker::keep(const std::string& stored,
                    std::size_t axis,
                    std::span<const std::int64_t> kept) {
  const AnyView& from = views_.at(stored);
  if (from.shape.empty() || axis >= from.shape.size() || from.shape.size() > 2 ||
      kept.back() >= from.shape[axis]) {
    throw Error(ErrorCode::kFormat,
                fmt::format("[prune] expected {} to hold {} numbers of heads, found {}",
                            stored,
                            kept.back() + 1,
                            to_string(from.shape)));
  }
  Tensor out = taken(from, axis, kept);
  made_[stored] = std::move(out);
  views_[stored] = made_.at(stored).any();
}

void Shrinker::cut(const std::string& name, bool output, std::span<const std::int64_t> kept) {
  const std::string weight = stored_name(views_, b_, name + ".weight");
  if (weight.empty()) {
    throw Error(ErrorCode::kFormat,
                fmt::format("[prune] expected {}.weight in the file, found none", name));
  }
  const bool rows = (b_.matrices == Linear::Layout::kOutIn) != output;
  keep(weight, rows ? 0 : 1, kept);
  const std::string bias = stored_name(views_, b_, name + ".bias");
  if (!output && !bias.empty()) keep(bias, 0, kept);
}

void Shrinker::remove(const Leaving& leaving) {
  for (const auto& [l, heads] : leaving) {
    const models::LayerFacts& layer = b_.layers.at(static_cast<std::size_t>(l));
    const models::AttentionFacts& a = layer.attention;
    const std::vector<std::int64_t> values = staying(a, heads, a.value_width);
    if (a.layout == models::QkvLayout::kSeparate) {
      const std::vector<std::int64_t> queries = staying(a, heads, a.width);
      cut(layer.prefix + a.query, false, queries);
      cut(layer.prefix + a.key, false, queries);
      cut(layer.prefix + a.value, false, values);
    } else {
      std::vector<std::int64_t> all;
      append(all, a, heads, a.width, 0);
      append(all, a, heads, a.width, a.heads * a.width);
      append(all, a, heads, a.value_width, 2 * a.heads * a.width);
      cut(layer.prefix + a.fused, false, all);
    }
    cut(layer.prefix + a.output, true, values);
  }
}

void name_leaving(const Leaving& leaving, json::Value& config) {
  models::PrunedHeads lost = models::pruned_heads(config);
  for (const auto& [layer, heads] : leaving) {
    const std::set<std::int64_t> before = lost[layer];
    for (const std::int64_t head : heads) lost[layer].insert(first_number(head, before));
  }
  json::Value word = json::Value::object();
  for (const auto& [layer, heads] : lost) {
    if (!heads.empty()) word[std::to_string(layer)] = heads;
  }
  config["pruned_heads"] = std::move(word);
  const auto taught = config.find("taught_heads");
  if (taught == config.end() || !taught->is_object()) return;
  json::Value now = json::Value::object();
  for (const auto& [name, what] : taught->items()) {
    if (const std::string number = renumbered(name, leaving); !number.empty()) now[number] = what;
  }
  *taught = std::move(now);
}

}  // namespace headscope::doctor
