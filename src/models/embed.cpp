// One vector for each of many texts.
#include <algorithm>
#include <cstring>
#include <map>
#include <numeric>

#include "headscope/model.h"
#include "models/towers.h"

namespace headscope {

namespace {

// Rows of one run: enough to read weights for, few enough that what goes between layers stays in the cache.
constexpr std::int64_t kRows = 512;

using Rows = std::vector<Tokens>;

std::int64_t length(const Tokens& tokens) { return tokens.ids.dim(1); }

// Copies rows [T] of several texts into one tensor, one behind the other; empty where the model knows no such ids.
Tensor joined(std::span<const std::size_t> texts,
              const Rows& all,
              Tensor Tokens::*of,
              Shape shape) {
  if ((all[texts[0]].*of).empty()) return {};
  Tensor out = Tensor::zeros(DType::kI32, std::move(shape));
  std::byte* to = out.raw();
  for (const std::size_t n : texts) {
    const Tensor& from = all[n].*of;
    std::memcpy(to, from.raw(), from.bytes());
    to += from.bytes();
  }
  return out;
}

// A text a row; or, packed, all in one row, filled up to whole blocks of rows with a sequence that nobody reads
// where that is little: products are made for a number of rows, and few numbers should come.
Tokens batch(std::span<const std::size_t> texts,
             const Rows& all,
             bool packed,
             std::int64_t longest) {
  constexpr std::int64_t kBlock = 128, kLittle = 8;
  std::vector<std::int32_t> ends{0};
  for (const std::size_t n : texts)
    ends.push_back(ends.back() + static_cast<std::int32_t>(length(all[n])));
  const std::int64_t fill = (kBlock - ends.back() % kBlock) % kBlock;
  if (packed && fill > 0 && fill * kLittle <= ends.back() && fill <= longest)
    ends.push_back(ends.back() + static_cast<std::int32_t>(fill));
  const auto B = static_cast<std::int64_t>(packed ? 1 : texts.size());
  const Shape shape{B, ends.back() / B};
  Tokens out;
  out.ids = joined(texts, all, &Tokens::ids, shape);
  out.type_ids = joined(texts, all, &Tokens::type_ids, shape);
  if (packed) {
    out.cu_seqlens = Tensor(DType::kI32, {static_cast<std::int64_t>(ends.size())});
    std::ranges::copy(ends, out.cu_seqlens.span<std::int32_t>().begin());
  }
  return out;
}

// Which texts run together. Packed: the longest first, each where it leaves the least room; else those of equal length.
std::vector<std::vector<std::size_t>> groups(const Rows& all, bool packed) {
  std::vector<std::size_t> order(all.size());
  std::iota(order.begin(), order.end(), std::size_t{0});
  std::ranges::stable_sort(
      order, [&](std::size_t a, std::size_t b) { return length(all[a]) > length(all[b]); });
  std::vector<std::vector<std::size_t>> out;
  std::multimap<std::int64_t, std::size_t> room;  // left in which group
  for (const std::size_t n : order) {
    const std::int64_t rows = length(all[n]);
    auto found = room.lower_bound(rows);
    const bool equal = packed || (!out.empty() && length(all[out.back().front()]) == rows);
    if (found == room.end() || !equal) {
      if (!packed) room.clear();
      found = room.emplace(std::max(kRows, rows), out.size());
      out.emplace_back();
    }
    const auto [left, group] = *found;
    room.erase(found);
    out[group].push_back(n);
    if (left > rows) room.emplace(left - rows, group);
  }
  return out;
}

}  // namespace

Tensor Model::embed(std::span<const std::string> texts, bool truncate) const {
  Rows all;
  for (const std::string& text : texts) all.push_back(tokens(text, nullptr, truncate));
  Tensor out(DType::kF32, {static_cast<std::int64_t>(texts.size()), width()});
  const bool packed = packs();
  const auto put = [&out](const Tensor& rows, std::span<const std::size_t> which) {
    if (out.dim(1) != rows.dim(1)) out = Tensor(DType::kF32, {out.dim(0), rows.dim(1)});
    const std::size_t bytes = rows.bytes() / which.size();
    for (std::size_t i = 0; i < which.size(); ++i)
      std::memcpy(out.raw() + which[i] * bytes, rows.raw() + i * bytes, bytes);
  };
  for (const std::vector<std::size_t>& part : groups(all, packed)) {
    RunOptions options;
    options.outputs = models::pools_itself(family());
    const Run run = this->run(batch(part, all, packed, positions()), options);
    if (options.outputs) {
      put(embedding(run), part);
      continue;
    }
    const Tensor& found =
        encoder_layers() > 0 ? run.encoder_last_hidden_state : run.last_hidden_state;
    const std::byte* from = found.raw();
    for (const std::size_t n : part) {
      Run one;
      one.last_hidden_state = Tensor(DType::kF32, {1, length(all[n]), found.dim(2)});
      std::memcpy(one.last_hidden_state.raw(), from, one.last_hidden_state.bytes());
      from += one.last_hidden_state.bytes();
      put(embedding(one), std::span(&n, 1));
    }
  }
  return out;
}

}  // namespace headscope
