// What a run is given: checked, and every token's position.
#include <fmt/format.h>

#include <algorithm>
#include <vector>

#include "attention/cached.h"
#include "attention/edits.h"
#include "models/transformer.h"

namespace headscope::models {

namespace {

void within(const Tensor& t, const Tensor& ids, std::string_view what, std::int64_t limit) {
  if (t.empty()) return;
  if (t.shape() != ids.shape()) {
    throw Error(ErrorCode::kShape,
                fmt::format("[tokens] expected {} {}, found {}",
                            what,
                            to_string(ids.shape()),
                            to_string(t.shape())));
  }
  for (std::int32_t x : t.span<std::int32_t>()) {
    if (x < 0 || x >= limit) {
      throw Error(ErrorCode::kRange,
                  fmt::format("[tokens] expected {} 0..{}, found {}", what, limit - 1, x));
    }
  }
}

void check_mask(const Tokens& tokens) {
  const Tensor& mask = tokens.attention_mask;
  if (mask.empty() || (mask.dtype() == DType::kU8 && mask.shape() == tokens.ids.shape())) return;
  throw Error(ErrorCode::kShape,
              fmt::format("[tokens] expected attention_mask u8 {}, found {} {}",
                          to_string(tokens.ids.shape()),
                          name(mask.dtype()),
                          to_string(mask.shape())));
}

void check_layer(int layer, std::size_t layers, std::string_view what) {
  if (layer >= 0 && static_cast<std::size_t>(layer) < layers) return;
  throw Error(ErrorCode::kRange,
              fmt::format("[{}] expected a layer 0..{}, found {}", what, layers - 1, layer));
}

}  // namespace

Tensor Transformer::positions_of(const Tokens& tokens, const RunOptions& options) const {
  const Blueprint& b = blueprint_;
  const auto ids = tokens.ids.view<std::int32_t, 2>();
  const auto [B, T] = ids.shape;
  Tensor out(DType::kI64, {B, T});
  const auto to = out.view<std::int64_t, 2>();
  std::vector<std::uint8_t> begins(static_cast<std::size_t>(T), 0);
  if (!tokens.cu_seqlens.empty()) {
    for (const std::int32_t row : tokens.cu_seqlens.span<std::int32_t>())
      if (row < T) begins[static_cast<std::size_t>(row)] = 1;
  }
  for (std::int64_t s = 0; s < B; ++s) {
    std::int64_t before =
        options.caches.empty() ? 0 : options.caches[static_cast<std::size_t>(s)]->length();
    std::int64_t counted = before;
    for (std::int64_t i = 0; i < T; ++i) {
      if (begins[static_cast<std::size_t>(i)] != 0) {
        before = -i;
        counted = 0;
      }
      const bool shown =
          tokens.attention_mask.empty() || tokens.attention_mask.view<std::uint8_t, 2>()(s, i) != 0;
      const bool pad = b.position_rule == PositionRule::kSkipPadding && ids(s, i) == b.pad_token;
      const bool counts = b.position_rule == PositionRule::kCountMask ? shown : !pad;
      if (!tokens.position_ids.empty())
        to(s, i) = tokens.position_ids.view<std::int32_t, 2>()(s, i);
      else if (b.position_rule == PositionRule::kIndex)
        to(s, i) = before + i;
      else  // What does not count sits one place before the first that does.
        to(s, i) = b.first_position() + (counts ? counted++ : -1);
      const std::int64_t row = to(s, i) + b.position_offset;
      if (b.position_rows > 0 && (row < 0 || row >= b.position_rows)) {
        throw Error(ErrorCode::kInput,
                    fmt::format("[tokens] expected positions below {}, found {}",
                                b.position_rows - b.position_offset,
                                to(s, i)));
      }
    }
  }
  return out;
}

bool Transformer::packs() const {
  return !convolution_ && std::ranges::all_of(blueprint_.layers, [](const LayerFacts& layer) {
    const AttentionFacts& a = layer.attention;
    return !layer.cross && a.relative.table.empty() && !a.disentangled &&
           !(a.slopes_bf16 && !a.slopes.empty()) && !a.rope.depends_on_length();
  });
}

void Transformer::check_packed(const Tokens& tokens, const RunOptions& options) const {
  if (tokens.cu_seqlens.empty()) return;
  const auto refuse = [](std::string_view expected, std::string_view found) {
    throw Error(ErrorCode::kUnsupported,
                fmt::format("[tokens] expected {} with cu_seqlens, found {}", expected, found));
  };
  if (!packs()) refuse("attention that can be packed", blueprint_.family);
  if (!tokens.attention_mask.empty()) refuse("no attention_mask", "one");
  if (!options.caches.empty()) refuse("no cache", "one");
  if (options.sight != nullptr || !options.trace_layers.empty()) refuse("no Sight", "one");
  const auto [B, T] = tokens.ids.view<std::int32_t, 2>().shape;
  const Tensor& cu = tokens.cu_seqlens;
  const bool shape = B == 1 && cu.dtype() == DType::kI32 && cu.shape().size() == 1 && cu.size() > 1;
  if (!shape || cu.span<std::int32_t>().front() != 0 || cu.span<std::int32_t>().back() != T) {
    throw Error(ErrorCode::kShape,
                fmt::format("[tokens] expected cu_seqlens i32 [N+1] from 0 to {} with ids [1,{}], "
                            "found {} {} with ids [{},{}]",
                            T,
                            T,
                            name(cu.dtype()),
                            to_string(cu.shape()),
                            B,
                            T));
  }
  const auto rows = cu.span<std::int32_t>();
  for (std::size_t n = 0; n + 1 < rows.size(); ++n) {
    const std::int64_t length = std::int64_t{rows[n + 1]} - rows[n];
    if (length >= 1 && (blueprint_.position_rows == 0 || length <= blueprint_.positions)) continue;
    throw Error(ErrorCode::kInput,
                fmt::format("[tokens] expected sequences of 1 to {} tokens, found {}",
                            blueprint_.positions,
                            length));
  }
}

void Transformer::check_caches(const Tokens& tokens, const RunOptions& options) const {
  if (options.caches.empty()) return;
  const auto [B, T] = tokens.ids.view<std::int32_t, 2>().shape;
  if (static_cast<std::int64_t>(options.caches.size()) != B) {
    throw Error(
        ErrorCode::kShape,
        fmt::format(
            "[cache] expected one for each of {} sequences, found {}", B, options.caches.size()));
  }
  const auto mask = tokens.attention_mask.empty() ? View<const std::uint8_t, 2>()
                                                  : tokens.attention_mask.view<std::uint8_t, 2>();
  for (std::size_t n = 0; n < options.caches.size(); ++n) {
    const KvCache* cache = options.caches[n];
    const bool fits = cache != nullptr && cache->layers().size() == layers_.size() &&
                      cross() == (cache->memory() != nullptr);
    if (!fits || std::count(options.caches.begin(), options.caches.end(), cache) > 1) {
      throw Error(ErrorCode::kUsage,
                  fmt::format("[cache] expected {} for each sequence, found {}",
                              "a cache of this model",
                              !fits ? "another one" : "one twice"));
    }
    const std::int64_t rows = leading_rows(mask, static_cast<std::int64_t>(n), T);
    if (rows > cache->positions() - cache->length()) {
      throw Error(ErrorCode::kInput,
                  fmt::format("[cache] expected at most {} tokens, found {}: {} too many",
                              cache->positions(),
                              cache->length() + rows,
                              cache->length() + rows - cache->positions()));
    }
  }
}

void Transformer::check_resume(const Tokens& tokens, const RunOptions& options) const {
  if (options.resume == nullptr) return;
  const Resume& r = *options.resume;
  const auto L = static_cast<int>(layers_.size());
  if (r.layer < 0 || r.layer > L || (r.end >= 0 && (r.end < r.layer || r.end > L)) ||
      (r.x == nullptr && r.layer > 0) || (r.attended != nullptr && r.layer == L)) {
    throw Error(
        ErrorCode::kRange,
        fmt::format("[resume] expected layers in 0..{} and the stream in front of them, found "
                    "{}..{}",
                    L,
                    r.layer,
                    r.end));
  }
  const Shape shape{tokens.ids.dim(0), tokens.ids.dim(1), blueprint_.width};
  for (const Tensor* t : {r.x, r.attended}) {
    if (t == nullptr || (t->dtype() == DType::kF32 && t->shape() == shape)) continue;
    throw Error(ErrorCode::kShape,
                fmt::format("[resume] expected f32 {}, found {} {}",
                            to_string(shape),
                            name(t->dtype()),
                            to_string(t->shape())));
  }
  if (!options.caches.empty() || options.hidden_states) {
    throw Error(ErrorCode::kUsage, "[resume] expected no caches and no hidden states");
  }
}

void Transformer::check(const Tokens& tokens, const RunOptions& options) const {
  const Blueprint& b = blueprint_;
  const auto [B, T] = tokens.ids.view<std::int32_t, 2>().shape;
  if (T < 1 || B < 1)
    throw Error(ErrorCode::kInput, "[tokens] expected at least one token, found none");
  // Where padding takes no position, positions_of() knows better.
  if (b.position_rows > 0 && T > b.positions && tokens.position_ids.empty() &&
      tokens.cu_seqlens.empty() && b.position_rule == PositionRule::kIndex) {
    throw Error(ErrorCode::kInput,
                fmt::format("[tokens] expected at most {} tokens, found {}: {} too many",
                            b.positions,
                            T,
                            T - b.positions));
  }
  constexpr std::int64_t kFar = std::int64_t{1} << 31;
  within(tokens.ids, tokens.ids, "ids", b.vocabulary);
  within(tokens.type_ids, tokens.ids, "type_ids", std::max<std::int64_t>(b.types, 1));
  within(tokens.position_ids,
         tokens.ids,
         "position_ids",
         b.position_rows > 0 ? b.position_rows - b.position_offset : kFar);
  check_mask(tokens);
  check_caches(tokens, options);
  check_packed(tokens, options);
  check_resume(tokens, options);
  for (int layer : options.layers) check_layer(layer, layers(), "sight");
  for (std::size_t n = 0; n < options.trace_layers.size(); ++n) {
    const auto first = options.trace_layers.begin();
    const auto here = first + static_cast<std::ptrdiff_t>(n);
    check_layer(*here, layers(), "trace");
    if (std::find(first, here, *here) != here) {
      throw Error(ErrorCode::kUsage,
                  fmt::format("[trace] expected each layer once, found {} twice", *here));
    }
  }
  for (const Edit& edit : options.edits) {
    check_layer(edit.layer, layers(), "edit");
    const AttentionFacts& a = facts(static_cast<std::size_t>(edit.layer));
    check_edits(std::span(&edit, 1), a.heads, B, T, a.value_width);
  }
}

}  // namespace headscope::models
