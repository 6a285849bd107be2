#include <fmt/format.h>

#include <algorithm>
#include <cstring>

#include "attention/edits.h"
#include "headscope/attention.h"

namespace headscope {

namespace {

void check_edit(
    const Edit& edit, std::int64_t heads, std::int64_t B, std::int64_t T, std::int64_t width) {
  if (edit.head < 0 || edit.head >= heads) {
    throw Error(
        ErrorCode::kRange,
        fmt::format(
            "[merge] expected a head 0..{}, found {}.{}", heads - 1, edit.layer, edit.head));
  }
  for (std::int64_t row : edit.rows) {
    if (row < 0 || row >= T) {
      throw Error(ErrorCode::kRange,
                  fmt::format("[merge] expected a row 0..{}, found {}", T - 1, row));
    }
  }
  if (edit.kind != Edit::Kind::kReplace) return;
  const Shape one{T, width};
  const Shape all{B, T, width};
  if (edit.replacement == nullptr || edit.replacement->dtype() != DType::kF32 ||
      (edit.replacement->shape() != one && edit.replacement->shape() != all)) {
    throw Error(ErrorCode::kShape,
                fmt::format("[merge] expected a replacement f32 {} or {} for head {}.{}, found {}",
                            to_string(one),
                            to_string(all),
                            edit.layer,
                            edit.head,
                            edit.replacement == nullptr
                                ? "none"
                                : fmt::format("{} {}",
                                              name(edit.replacement->dtype()),
                                              to_string(edit.replacement->shape()))));
  }
}

// The mean of a head's findings over the rows that count, in double.
std::vector<float> mean_of(const View<float, 4>& z,
                           std::int64_t b,
                           std::int64_t h,
                           View<const std::uint8_t, 2> counts) {
  const auto [B, H, T, width] = z.shape;
  std::vector<double> sum(static_cast<std::size_t>(width), 0.0);
  std::int64_t n = 0;
  for (std::int64_t i = 0; i < T; ++i) {
    if (counts.data != nullptr && counts(b, i) == 0) continue;
    ++n;
    for (std::int64_t c = 0; c < width; ++c)
      sum[static_cast<std::size_t>(c)] += static_cast<double>(z(b, h, i, c));
  }
  std::vector<float> mean(sum.size());
  for (std::size_t c = 0; c < sum.size(); ++c)
    mean[c] = n == 0 ? 0.0F : static_cast<float>(sum[c] / static_cast<double>(n));
  return mean;
}

void apply(const Edit& edit,
           const View<float, 4>& z,
           std::int64_t b,
           View<const std::uint8_t, 2> counts) {
  const std::int64_t T = z.shape[2];
  const std::int64_t width = z.shape[3];
  const std::int64_t h = edit.head;
  const std::vector<float> mean =
      edit.kind == Edit::Kind::kMean ? mean_of(z, b, h, counts) : std::vector<float>();
  const float* new_rows = nullptr;
  if (edit.kind == Edit::Kind::kReplace) {
    new_rows = edit.replacement->span<float>().data() +
               (edit.replacement->shape().size() == 3 ? b * T * width : 0);
  }
  const auto change = [&](std::int64_t i) {
    for (std::int64_t c = 0; c < width; ++c) {
      float& at = z(b, h, i, c);
      switch (edit.kind) {
        case Edit::Kind::kZero:
          at = 0.0F;
          break;
        case Edit::Kind::kMean:
          at = mean[static_cast<std::size_t>(c)];
          break;
        case Edit::Kind::kScale:
          at *= edit.factor;
          break;
        case Edit::Kind::kReplace:
          at = new_rows[i * width + c];
          break;
      }
    }
  };
  if (edit.rows.empty()) {
    for (std::int64_t i = 0; i < T; ++i) change(i);
  } else {
    for (std::int64_t i : edit.rows) change(i);
  }
}

}  // namespace

void check_edits(std::span<const Edit> edits,
                 std::int64_t heads,
                 std::int64_t B,
                 std::int64_t T,
                 std::int64_t width) {
  for (const Edit& edit : edits) {
    if (edit.part == Edit::Part::kFindings) check_edit(edit, heads, B, T, width);
  }
}

void apply_edits(std::span<const Edit> edits,
                 Edit::Part part,
                 const View<float, 4>& heads,
                 View<const std::uint8_t, 2> rows) {
  const auto [B, H, T, width] = heads.shape;
  for (const Edit& edit : edits) {
    if (edit.part == part) check_edit(edit, H, B, T, width);
  }
  for (const Edit& edit : edits) {
    for (std::int64_t b = 0; edit.part == part && b < B; ++b) apply(edit, heads, b, rows);
  }
}

void edit_parts(const AttentionWeights& w, const Projected& rows, const AttentionCall& call) {
  const auto whole = [](const Edit& edit) { return edit.part == Edit::Part::kFindings; };
  if (std::all_of(call.edits.begin(), call.edits.end(), whole)) return;
  if (!call.caches.empty() || w.latent != nullptr || w.disentangled != nullptr ||
      rows.kv.data == nullptr) {
    throw Error(
        ErrorCode::kUnsupported,
        "[split] expected an edit of findings (a cache, latent or disentangled attention has "
        "read q, k and v before), found one of q, k or v");
  }
  const auto part =
      [&](const View<float, 3>& from, std::int64_t first, std::int64_t n, std::int64_t D) {
        return View<float, 4>(from.data + first,
                              {from.shape[0], n, from.shape[1], D},
                              {from.stride[0], D, from.stride[1], 1});
      };
  apply_edits(call.edits, Edit::Part::kQuery, part(rows.q, 0, w.heads, w.width), call.rows);
  apply_edits(call.edits, Edit::Part::kKey, part(rows.kv, 0, w.groups, w.width), {});
  apply_edits(call.edits,
              Edit::Part::kValue,
              part(rows.kv, w.groups * w.width, w.groups, w.value_width),
              {});
}

View<float, 4> as_heads(View<float, 3> merged, std::int64_t heads) {
  if (heads < 1 || merged.shape[2] % heads != 0 || !merged.contiguous()) {
    throw Error(
        ErrorCode::kShape,
        fmt::format("[merge] expected contiguous [B,T,N] with N a multiple of {} heads, found {}",
                    heads,
                    to_string(merged.shape)));
  }
  const auto [B, T, N] = merged.shape;
  return View<float, 4>(merged.data, {B, heads, T, N / heads}, {T * N, N / heads, N, 1});
}

void merge(View<float, 3> merged,
           std::int64_t heads,
           std::span<const Edit> edits,
           View<const std::uint8_t, 2> rows) {
  const View<float, 4> z = as_heads(merged, heads);
  apply_edits(edits, Edit::Part::kFindings, z, rows);
}

}  // namespace headscope
