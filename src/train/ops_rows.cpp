// What happens to rows between products.
#include <algorithm>

#include "headscope/threads.h"
#include "kernels/between.h"
#include "kernels/heads.h"
#include "kernels/isa.h"
#include "train/tape.h"

namespace headscope::train {

namespace {

const float* numbers_of(const Parameter* p) {
  return p == nullptr ? nullptr : p->value.span<float>().data();
}
float* gradient_of(Parameter* p) {
  return p == nullptr ? nullptr : p->gradient.span<float>().data();
}

std::uint64_t mixed(std::uint64_t x) {
  x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9ULL;
  x = (x ^ (x >> 27)) * 0x94D049BB133111EBULL;
  return x ^ (x >> 31);
}

// Calls body(first, last) over stretches of columns: rows that meet in a table meet in order.
template <typename F>
void by_columns(std::int64_t width, F&& body) {
  constexpr std::int64_t kWide = 64;
  parallel_for((width + kWide - 1) / kWide,
               [&](std::int64_t n) { body(n * kWide, std::min(width, (n + 1) * kWide)); });
}

}  // namespace

Var Tape::embed(std::int64_t rows, std::span<const Lookup> lookups) {
  const std::int64_t C = lookups.front().table->value.shape().back();
  const Var y = make(rows, C);
  float* to = numbers(y);
  by_rows(rows, C, [&](std::int64_t first, std::int64_t last) {
    for (std::int64_t i = first; i < last; ++i) {
      std::fill_n(to + i * C, C, 0.0F);
      for (const Lookup& lookup : lookups) {
        const float* from = numbers_of(lookup.table) + std::int64_t{lookup.rows[i]} * C;
        for (std::int64_t c = 0; c < C; ++c) to[i * C + c] += lookup.factor * from[c];
      }
    }
  });
  // Goes back last table first; y is released behind the first.
  record([this, y] { release(y); });
  for (const Lookup& lookup : lookups) record([this, y, lookup] { embed_back(y, lookup); });
  return y;
}

void Tape::embed_back(Var y, const Lookup& lookup) {
  const std::int64_t N = at(y).rows;
  const std::int64_t C = at(y).width;
  const float* dy = gradient(y);
  float* to = gradient_of(lookup.table);
  by_columns(C, [&](std::int64_t first, std::int64_t last) {
    for (std::int64_t i = 0; i < N; ++i) {
      float* row = to + std::int64_t{lookup.rows[i]} * C;
      for (std::int64_t c = first; c < last; ++c) row[c] += lookup.factor * dy[i * C + c];
    }
  });
}

Var Tape::place(Var patches, const PatchesPart& part) {
  const std::int64_t C = at(patches).width;
  const auto F = static_cast<std::int64_t>(part.front.size());
  const std::int64_t T = F + part.patches;
  const Var y = make(part.sequences * T, C);
  const float* positions = part.positions != nullptr ? numbers_of(part.positions) : part.computed;
  by_rows(part.sequences * T, C, [&](std::int64_t first, std::int64_t last) {
    for (std::int64_t i = first; i < last; ++i) {
      const std::int64_t t = i % T;
      const std::int64_t n = i / T * part.patches + t - F;
      const float* from = numbers(patches) + n * C;
      if (t < F)
        from = numbers_of(part.front[static_cast<std::size_t>(t)]);
      else if (part.mask != nullptr && part.mask[n] == 1)
        from = numbers_of(part.masked);
      float* to = numbers(y) + i * C;
      for (std::int64_t c = 0; c < C; ++c)
        to[c] = from[c] + (positions == nullptr ? 0.0F : positions[t * C + c]);
    }
  });
  record([this, patches, y, part] {
    place_back(patches, y, part);
    release(y);
  });
  return y;
}

void Tape::place_back(Var x, Var y, const PatchesPart& part) {
  const std::int64_t C = at(y).width;
  const auto F = static_cast<std::int64_t>(part.front.size());
  const std::int64_t T = F + part.patches;
  const float* dy = gradient(y);
  const Sink dx = sink(x);
  by_columns(C, [&](std::int64_t first, std::int64_t last) {
    for (std::int64_t i = 0; i < part.sequences * T; ++i) {
      const std::int64_t t = i % T;
      const std::int64_t n = i / T * part.patches + t - F;
      const bool hidden = t >= F && part.mask != nullptr && part.mask[n] == 1;
      const auto add_to = [&](float* to) {
        for (std::int64_t c = first; c < last; ++c) to[c] += dy[i * C + c];
      };
      if (part.positions != nullptr) add_to(gradient_of(part.positions) + t * C);
      if (t < F) add_to(gradient_of(part.front[static_cast<std::size_t>(t)]));
      if (hidden) add_to(gradient_of(part.masked));
      if (t < F || dx.data == nullptr) continue;
      for (std::int64_t c = first; c < last; ++c) {
        const float own = hidden ? 0.0F : dy[i * C + c];
        float& to = dx.data[n * C + c];
        to = dx.add ? to + own : own;
      }
    }
  });
}

Var Tape::norm(Var x, const NormPart& part) {
  const std::int64_t C = at(x).width;
  const Var y = make(at(x).rows, C);
  const auto& table = kernels::table();
  const auto heads = kernels::head_bodies(table.name);
  const float* weight = numbers_of(part.weight);
  const float* bias = numbers_of(part.bias);
  by_rows(at(x).rows, C, [&](std::int64_t first, std::int64_t last) {
    for (std::int64_t i = first; i < last; ++i) {
      const float* from = numbers(x) + i * C;
      if (part.kind == HeadNorm::Kind::kRms)
        heads.rms_norm(from, weight, part.eps, C, numbers(y) + i * C);
      else
        table.layer_norm(from, weight, bias, part.eps, C, numbers(y) + i * C);
    }
  });
  record([this, x, y, part] {
    norm_back(x, y, part);
    release(y);
  });
  return y;
}

// Rows give to the weights in groups, whose sums join in order.
void Tape::norm_back(Var x, Var y, const NormPart& part) {
  constexpr std::int64_t kGroup = 64;
  const std::int64_t N = at(x).rows;
  const std::int64_t C = at(x).width;
  const std::int64_t groups = (N + kGroup - 1) / kGroup;
  const float* dy = gradient(y);
  const Sink dx = sink(x);
  Block* sums = arena_.take(groups * 2 * C);
  parallel_for(groups, [&](std::int64_t g) {
    float* own = sums->data() + g * 2 * C;
    std::fill_n(own, 2 * C, 0.0F);
    for (std::int64_t i = g * kGroup; i < std::min(N, (g + 1) * kGroup); ++i) {
      bodies_.norm_back({numbers(x) + i * C,
                         numbers_of(part.weight),
                         dy + i * C,
                         part.eps,
                         C,
                         part.kind == HeadNorm::Kind::kLayer,
                         dx.data + i * C,
                         dx.add,
                         part.weight == nullptr ? nullptr : own,
                         part.bias == nullptr ? nullptr : own + C});
    }
  });
  if (part.weight != nullptr) columns(sums->data(), groups, C, 2 * C, gradient_of(part.weight));
  if (part.bias != nullptr) columns(sums->data() + C, groups, C, 2 * C, gradient_of(part.bias));
  Arena::drop(sums);
}

Var Tape::activate(Var x, kernels::Activation kind) {
  const std::int64_t C = at(x).width;
  const Var y = make(at(x).rows, C);
  const auto& table = kernels::table();
  by_rows(at(x).rows, C, [&](std::int64_t first, std::int64_t last) {
    std::copy(numbers(x) + first * C, numbers(x) + last * C, numbers(y) + first * C);
    table.activate(kind, numbers(y) + first * C, (last - first) * C);
  });
  record([this, x, y, kind, C] {
    const float* dy = gradient(y);
    const Sink dx = sink(x);
    if (dx.add) throw Error(ErrorCode::kInternal, "[tape] expected an activation to be alone");
    by_rows(at(x).rows, C, [&](std::int64_t first, std::int64_t last) {
      bodies_.activate_back(
          kind, numbers(x) + first * C, dy + first * C, (last - first) * C, dx.data + first * C);
    });
    release(y);
  });
  return y;
}

Var Tape::gate(Var x, kernels::Activation kind) {
  const std::int64_t F = at(x).width / 2;
  const Var y = make(at(x).rows, F);
  const auto between = kernels::between_bodies(kernels::table().name);
  by_rows(at(x).rows, 2 * F, [&](std::int64_t first, std::int64_t last) {
    for (std::int64_t i = first; i < last; ++i) {
      const float* row = numbers(x) + i * 2 * F;
      between.gate(kind, row, row + F, F, numbers(y) + i * F);
    }
  });
  record([this, x, y, kind, F] {
    const float* dy = gradient(y);
    const Sink dx = sink(x);
    if (dx.add) throw Error(ErrorCode::kInternal, "[tape] expected a gate to be alone");
    by_rows(at(x).rows, 2 * F, [&](std::int64_t first, std::int64_t last) {
      for (std::int64_t i = first; i < last; ++i) {
        const float* row = numbers(x) + i * 2 * F;
        float* to = dx.data + i * 2 * F;
        bodies_.gate_back(kind, row, row + F, dy + i * F, F, to, to + F);
      }
    });
    release(y);
  });
  return y;
}

void Tape::drop_rows(float* x, std::int64_t rows, std::int64_t width, std::uint64_t site) const {
  const auto threshold = static_cast<std::uint32_t>(options_.dropout * 16777216.0F);
  const float scale = 1.0F / (1.0F - options_.dropout);
  const std::uint64_t place = mixed(mixed(mixed(options_.seed) + options_.step) + site);
  by_rows(rows, width, [&](std::int64_t first, std::int64_t last) {
    for (std::int64_t i = first; i < last; ++i) {
      const std::uint64_t key = mixed(place + static_cast<std::uint64_t>(i));
      bodies_.drop({x + i * width, width, key, threshold, scale, x + i * width});
    }
  });
}

void Tape::drop(Var x) {
  if (!options_.train || options_.dropout <= 0.0F) return;
  const std::uint64_t site = ++sites_;
  drop_rows(numbers(x), at(x).rows, at(x).width, site);
  record([this, x, site] { drop_rows(own_gradient(x), at(x).rows, at(x).width, site); });
}

Var Tape::pick(Var x, std::span<const std::int32_t> rows) {
  const std::int64_t C = at(x).width;
  const std::span<const std::int32_t> kept = keep(rows);
  const auto R = static_cast<std::int64_t>(rows.size());
  const Var y = make(R, C);
  const auto row = [kept](std::int64_t r) {
    return std::int64_t{kept[static_cast<std::size_t>(r)]};
  };
  by_rows(R, C, [&](std::int64_t first, std::int64_t last) {
    for (std::int64_t r = first; r < last; ++r)
      std::copy_n(numbers(x) + row(r) * C, C, numbers(y) + r * C);
  });
  record([this, x, y, row, R, C] {
    const float* dy = gradient(y);
    const Sink dx = sink(x);
    if (!dx.add) std::fill_n(dx.data, at(x).rows * C, 0.0F);
    by_rows(R, C, [&](std::int64_t first, std::int64_t last) {
      for (std::int64_t r = first; r < last; ++r) bodies_.add(dy + r * C, C, dx.data + row(r) * C);
    });
    release(y);
  });
  return y;
}

Var Tape::mean(Var x, std::span<const Stretch> stretches) {
  const std::int64_t C = at(x).width;
  const auto S = static_cast<std::int64_t>(stretches.size());
  auto* kept = reinterpret_cast<Stretch*>(arena_.take(2 * S)->data());
  std::copy(stretches.begin(), stretches.end(), kept);
  const Var y = make(S, C);
  parallel_for(S, [&](std::int64_t s) {
    float* to = numbers(y) + s * C;
    std::fill_n(to, C, 0.0F);
    for (std::int64_t i = kept[s].begin; i < kept[s].end; ++i)
      bodies_.add(numbers(x) + i * C, C, to);
    const auto n = static_cast<float>(std::max(1, kept[s].end - kept[s].begin));
    for (std::int64_t c = 0; c < C; ++c) to[c] /= n;
  });
  record([this, x, y, kept, S, C] {
    const float* dy = gradient(y);
    const Sink dx = sink(x);
    if (!dx.add) std::fill_n(dx.data, at(x).rows * C, 0.0F);
    parallel_for(S, [&](std::int64_t s) {
      const auto n = static_cast<float>(std::max(1, kept[s].end - kept[s].begin));
      for (std::int64_t i = kept[s].begin; i < kept[s].end; ++i) {
        for (std::int64_t c = 0; c < C; ++c) dx.data[i * C + c] += dy[s * C + c] / n;
      }
    });
    release(y);
  });
  return y;
}

}  // namespace headscope::train
