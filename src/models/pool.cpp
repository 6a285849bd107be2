// One vector for a whole sequence.
#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "headscope/model.h"
#include "models/gguf_config.h"

namespace headscope {

namespace {

// Adds row i of a sequence to what the rows before it gave.
void take(Pooling::Kind kind, std::span<const float> row, bool first, std::span<double> sum) {
  for (std::size_t c = 0; c < row.size(); ++c) {
    const auto x = static_cast<double>(row[c]);
    if (kind == Pooling::Kind::kMean)
      sum[c] += x;
    else if (kind == Pooling::Kind::kLast || first)
      sum[c] = x;
    else if (kind == Pooling::Kind::kMax)
      sum[c] = std::max(sum[c], x);
  }
}

}  // namespace

Tensor pool(const Tensor& last_hidden_state, const Tensor& attention_mask, const Pooling& pooling) {
  const auto x = last_hidden_state.view<float, 3>();
  const auto [B, T, C] = x.shape;
  if (!attention_mask.empty() && attention_mask.shape() != Shape{B, T}) {
    throw Error(ErrorCode::kShape,
                fmt::format("[embedding] expected attention_mask [{},{}], found {}",
                            B,
                            T,
                            to_string(attention_mask.shape())));
  }
  const auto width = static_cast<std::size_t>(C);
  Tensor out(DType::kF32, {B, C});
  const auto to = out.view<float, 2>();
  for (std::int64_t b = 0; b < B; ++b) {
    std::vector<double> sum(width, 0.0);
    std::int64_t rows = 0;
    for (std::int64_t i = 0; i < T; ++i) {
      if (!attention_mask.empty() && attention_mask.view<std::uint8_t, 2>()(b, i) == 0) continue;
      take(pooling.kind, {&x(b, i, 0), width}, rows++ == 0, sum);
    }
    double factor =
        pooling.kind == Pooling::Kind::kMean && rows > 0 ? 1.0 / static_cast<double>(rows) : 1.0;
    if (pooling.unit_length) {
      double squares = 0.0;
      for (double s : sum) squares += s * s;
      factor = squares > 0.0 ? 1.0 / std::sqrt(squares) : 1.0;
    }
    for (std::size_t c = 0; c < width; ++c)
      to(b, static_cast<std::int64_t>(c)) = static_cast<float>(sum[c] * factor);
  }
  return out;
}

Pooling models::pooling_from_gguf(const json::Value& metadata, const Pooling& fallback) {
  constexpr std::string_view kWhere = "gguf";
  const auto architecture = json::get_or<std::string>(metadata, "general.architecture", "", kWhere);
  const std::string key = architecture + ".pooling_type";
  const auto type = json::get_or<std::int64_t>(metadata, key, 0, kWhere);
  Pooling out = fallback;
  switch (type) {
    case 0:
      break;
    case 1:
      out.kind = Pooling::Kind::kMean;
      break;
    case 2:
    case 4:  // a class on top of the first row
      out.kind = Pooling::Kind::kFirst;
      break;
    case 3:
      out.kind = Pooling::Kind::kLast;
      break;
    default:
      throw Error(ErrorCode::kUnsupported,
                  fmt::format("[gguf] expected {} 0..4, found {}", key, type));
  }
  out.unit_length =
      json::get_or<bool>(metadata, architecture + ".normalize_embeddings", out.unit_length, kWhere);
  return out;
}

Tensor mean_embedding(const Tensor& last_hidden_state, const Tensor& attention_mask) {
  return pool(last_hidden_state, attention_mask, Pooling());
}

}  // namespace headscope
