#include "doctor/regroup.h"

#include <fmt/format.h>

#include <Eigen/Eigenvalues>
#include <algorithm>
#include <complex>
#include <optional>

#include "doctor/folder.h"
#include "models/network.h"

namespace headscope::doctor {

namespace {

using Matrix = Eigen::Matrix<double, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;
using Hermitian = Eigen::MatrixXcd;
using Index = Eigen::Index;

void refuse(bool there, const std::string& expected, const std::string& found) {
  if (there) {
    throw Error(ErrorCode::kUnsupported,
                fmt::format("[regroup] expected {}, found {}", expected, found));
  }
}

json::Value changed_config(const std::filesystem::path& path, std::int64_t groups) {
  json::Value config = json::parse(read_file(path, std::size_t{16} << 20), "config.json");
  config["num_key_value_heads"] = groups;
  const models::Blueprint b = models::read_blueprint(config);
  for (const models::LayerFacts& layer : b.layers) {
    refuse(layer.attention.groups != groups,
           "a family whose config.json has num_key_value_heads",
           b.family);
  }
  return config;
}

void check(const models::Blueprint& b, std::int64_t groups, Merging how) {
  for (const models::LayerFacts& layer : b.layers) {
    const models::AttentionFacts& a = layer.attention;
    if (groups < 1 || groups >= a.groups || a.groups % groups != 0) {
      throw Error(ErrorCode::kRange,
                  fmt::format("[regroup] expected fewer groups than {} that divide them, found {}",
                              a.groups,
                              groups));
    }
    refuse(a.layout != models::QkvLayout::kSeparate || a.latent.has_value() ||
               b.matrices != Linear::Layout::kOutIn || layer.cross.has_value(),
           "queries, keys and values as three matrices [out,in]",
           b.family);
    refuse(a.qk_norm != HeadNorm::Kind::kNone && a.qk_norm_over == HeadNorm::Over::kAllHeads,
           "keys that are not normed together",
           b.family);
    refuse(how == Merging::kFitted && (a.qk_norm != HeadNorm::Kind::kNone || a.clip > 0.0F),
           "keys without norms for a fit (--by mean takes them)",
           b.family);
  }
}

// Sums over rows of products of the m groups' numbers from one group on.
struct Moments {
  Matrix values, keys;  // [m Dv, m Dv], [m D, m D]
};

Matrix numbers_of(const Tensor& heads, std::int64_t first, std::int64_t count) {
  const auto from = heads.view<float, 4>();
  const std::int64_t T = from.shape[2], width = from.shape[3];
  Matrix out(T, count * width);
  for (std::int64_t g = 0; g < count; ++g) {
    for (std::int64_t i = 0; i < T; ++i) {
      for (std::int64_t d = 0; d < width; ++d)
        out(i, g * width + d) = static_cast<double>(from(0, first + g, i, d));
    }
  }
  return out;
}

// Of every new group of a layer.
std::vector<Moments> moments_of(const std::vector<Baseline>& runs,
                                int layer,
                                std::int64_t groups,
                                std::int64_t m) {
  std::vector<Moments> out(static_cast<std::size_t>(groups));
  for (const Baseline& run : runs) {
    const AttentionTrace trace = run.trace(layer);
    for (std::int64_t j = 0; j < groups; ++j) {
      Moments& to = out[static_cast<std::size_t>(j)];
      const Matrix v = numbers_of(trace.v, j * m, m);
      const Matrix k = numbers_of(trace.k, j * m, m);
      if (to.values.size() == 0) {
        to.values = Matrix::Zero(v.cols(), v.cols());
        to.keys = Matrix::Zero(k.cols(), k.cols());
      }
      to.values.noalias() += v.transpose() * v;
      to.keys.noalias() += k.transpose() * k;
    }
  }
  return out;
}

// The part of a sum of squares that is kept.
struct Kept {
  double part = 0.0, whole = 0.0;
};

// The principal directions [m n,n] of m groups of n numbers, those at `where` of each group of `width`.
Matrix principal(const Matrix& moments,
                 std::int64_t m,
                 std::int64_t width,
                 std::span<const std::int64_t> where,
                 Kept& kept) {
  const auto n = static_cast<Index>(where.size());
  Matrix own(m * n, m * n);
  const auto at = [&](Index i) { return (i / n) * width + where[static_cast<std::size_t>(i % n)]; };
  for (Index i = 0; i < m * n; ++i) {
    for (Index j = 0; j < m * n; ++j) own(i, j) = moments(at(i), at(j));
  }
  const Eigen::SelfAdjointEigenSolver<Matrix> solved(own);  // rising
  kept.part += solved.eigenvalues().tail(n).cwiseMax(0.0).sum();
  kept.whole += own.trace();
  return solved.eigenvectors().rightCols(n);
}

// One complex direction [m] of m groups, of the numbers a + ib of each.
Eigen::VectorXcd principal_turn(const Matrix& moments,
                                std::int64_t m,
                                std::int64_t width,
                                std::int64_t a,
                                std::int64_t b,
                                Kept& kept) {
  Hermitian own(m, m);
  for (std::int64_t g = 0; g < m; ++g) {
    for (std::int64_t h = 0; h < m; ++h) {
      const std::int64_t ga = g * width + a, gb = g * width + b;
      const std::int64_t ha = h * width + a, hb = h * width + b;
      own(g, h) = std::complex<double>(moments(ga, ha) + moments(gb, hb),
                                       moments(gb, ha) - moments(ga, hb));
    }
  }
  const Eigen::SelfAdjointEigenSolver<Hermitian> solved(own);
  kept.part += std::max(0.0, solved.eigenvalues()(m - 1));
  kept.whole += own.trace().real();
  return solved.eigenvectors().col(m - 1);
}

// The weights of one layer as [out, in + 1]: a bias, if there is one, is the last column.
struct LayerWeights {
  Matrix q, k, v, o;  // o [C, H Dv]
};

// Pairs of numbers of a head that turn together, and those that stay.
struct Turning {
  std::vector<std::pair<std::int64_t, std::int64_t>> pairs;
  std::vector<std::int64_t> still;
};

Turning turning_of(const Rotary& rotary, std::int64_t width) {
  Turning out;
  const std::int64_t turned = rotary.style == Rotary::Style::kNone ? 0 : rotary.width();
  for (std::int64_t f = 0; f < turned / 2; ++f) {
    if (rotary.style == Rotary::Style::kNeox)
      out.pairs.emplace_back(f, f + turned / 2);
    else
      out.pairs.emplace_back(2 * f, 2 * f + 1);
  }
  for (std::int64_t d = turned; d < width; ++d) out.still.push_back(d);
  return out;
}

class Layer {
 public:
  Layer(const AttentionWeights& w, std::int64_t groups, LayerWeights& weights)
      : D_(w.width),
        Dv_(w.value_width),
        m_(w.groups / groups),
        heads_(w.heads / w.groups),
        turning_(turning_of(w.rotary, w.width)),
        w_(weights),
        k_(Matrix::Zero(groups * D_, weights.k.cols())),
        v_(Matrix::Zero(groups * Dv_, weights.v.cols())) {}

  void mean(std::int64_t j, const Moments& moments, Kept& values, Kept& keys) {
    for (std::int64_t g = j * m_; g < (j + 1) * m_; ++g) {
      k_.middleRows(j * D_, D_) += w_.k.middleRows(g * D_, D_) / static_cast<double>(m_);
      v_.middleRows(j * Dv_, Dv_) += w_.v.middleRows(g * Dv_, Dv_) / static_cast<double>(m_);
    }
    add_mean(moments.values, Dv_, values);
    add_mean(moments.keys, D_, keys);
  }

  void fit(std::int64_t j, const Moments& moments, Kept& values, Kept& keys) {
    std::vector<std::int64_t> all;
    for (std::int64_t d = 0; d < Dv_; ++d) all.push_back(d);
    const Matrix p = principal(moments.values, m_, Dv_, all, values);
    v_.middleRows(j * Dv_, Dv_) = p.transpose() * w_.v.middleRows(j * m_ * Dv_, m_ * Dv_);
    for (std::int64_t g = 0; g < m_; ++g) {
      for_heads(j * m_ + g, [&](std::int64_t h) {
        const Matrix own = w_.o.middleCols(h * Dv_, Dv_);
        w_.o.middleCols(h * Dv_, Dv_) = own * p.middleRows(g * Dv_, Dv_);
      });
    }
    for (const auto& pair : turning_.pairs) fit_turn(j, pair.first, pair.second, moments, keys);
    if (!turning_.still.empty()) fit_still(j, moments, keys);
  }

  void finish() {
    w_.k = std::move(k_);
    w_.v = std::move(v_);
  }

 private:
  // |mean|^2 m of all.
  void add_mean(const Matrix& moments, std::int64_t width, Kept& kept) const {
    for (std::int64_t g = 0; g < m_; ++g) {
      for (std::int64_t h = 0; h < m_; ++h)
        kept.part +=
            moments.block(g * width, h * width, width, width).trace() / static_cast<double>(m_);
    }
    kept.whole += moments.trace();
  }

  template <typename Body>
  void for_heads(std::int64_t group, const Body& body) const {
    for (std::int64_t h = group * heads_; h < (group + 1) * heads_; ++h) body(h);
  }

  // conj(p) (a + ib), p = x + iy.
  void fit_turn(
      std::int64_t j, std::int64_t a, std::int64_t b, const Moments& moments, Kept& keys) {
    const Eigen::VectorXcd p = principal_turn(moments.keys, m_, D_, a, b, keys);
    for (std::int64_t g = 0; g < m_; ++g) {
      const double x = p(g).real(), y = p(g).imag();
      const auto ka = w_.k.row((j * m_ + g) * D_ + a);
      const auto kb = w_.k.row((j * m_ + g) * D_ + b);
      k_.row(j * D_ + a) += x * ka + y * kb;
      k_.row(j * D_ + b) += x * kb - y * ka;
      for_heads(j * m_ + g, [&](std::int64_t h) {
        const Matrix qa = w_.q.row(h * D_ + a);
        const Matrix qb = w_.q.row(h * D_ + b);
        w_.q.row(h * D_ + a) = x * qa + y * qb;
        w_.q.row(h * D_ + b) = x * qb - y * qa;
      });
    }
  }

  void fit_still(std::int64_t j, const Moments& moments, Kept& keys) {
    const std::vector<std::int64_t>& still = turning_.still;
    const auto n = static_cast<Index>(still.size());
    const Matrix p = principal(moments.keys, m_, D_, still, keys);
    const auto rows_of = [&](const Matrix& from, std::int64_t first) {
      Matrix out(n, from.cols());
      for (Index d = 0; d < n; ++d)
        out.row(d) = from.row(first + still[static_cast<std::size_t>(d)]);
      return out;
    };
    Matrix key = Matrix::Zero(n, w_.k.cols());
    for (std::int64_t g = 0; g < m_; ++g) {
      const Matrix own = p.middleRows(g * n, n).transpose();
      key += own * rows_of(w_.k, (j * m_ + g) * D_);
      for_heads(j * m_ + g, [&](std::int64_t h) {
        const Matrix turned = own * rows_of(w_.q, h * D_);
        for (Index d = 0; d < n; ++d)
          w_.q.row(h * D_ + still[static_cast<std::size_t>(d)]) = turned.row(d);
      });
    }
    for (Index d = 0; d < n; ++d) k_.row(j * D_ + still[static_cast<std::size_t>(d)]) = key.row(d);
  }

  std::int64_t D_, Dv_, m_, heads_;
  Turning turning_;
  LayerWeights& w_;
  Matrix k_, v_;
};

// The tensors of a file, some of them made anew.
class File {
 public:
  File(const models::Blueprint& b, Views views) : b_(b), views_(std::move(views)) {}

  [[nodiscard]] const Views& views() const { return views_; }

  Matrix read(const std::string& name) const {
    const std::string weight = stored_name(views_, b_, name + ".weight");
    refuse(weight.empty(), name + ".weight in the file", "none");
    const Tensor w = Tensor::f32_from(views_.at(weight));
    const std::string bias = stored_name(views_, b_, name + ".bias");
    const auto from = w.view<float, 2>();
    Matrix out(from.shape[0], from.shape[1] + (bias.empty() ? 0 : 1));
    for (std::int64_t i = 0; i < from.shape[0]; ++i) {
      for (std::int64_t c = 0; c < from.shape[1]; ++c) out(i, c) = static_cast<double>(from(i, c));
    }
    if (!bias.empty()) {
      const Tensor more = Tensor::f32_from(views_.at(bias));
      for (std::int64_t i = 0; i < from.shape[0]; ++i)
        out(i, from.shape[1]) =
            static_cast<double>(more.span<float>()[static_cast<std::size_t>(i)]);
    }
    return out;
  }

  void write(const std::string& name, const Matrix& numbers) {
    const std::string weight = stored_name(views_, b_, name + ".weight");
    const std::string bias = stored_name(views_, b_, name + ".bias");
    const Index columns = numbers.cols() - (bias.empty() ? 0 : 1);
    put(weight, numbers.leftCols(columns), {numbers.rows(), columns});
    if (!bias.empty()) put(bias, numbers.rightCols(1), {numbers.rows()});
  }

 private:
  void put(const std::string& name, const Matrix& numbers, Shape shape) {
    AnyView& view = views_.at(name);
    const DType dtype =
        view.dtype == DType::kF16 || view.dtype == DType::kBF16 ? view.dtype : DType::kF32;
    Tensor t(dtype, std::move(shape));
    for (Index i = 0; i < numbers.size(); ++i) {
      const auto x = static_cast<float>(numbers.data()[i]);
      const auto at = static_cast<std::size_t>(i);
      if (dtype == DType::kF16)
        t.span<f16>()[at] = to_f16(x);
      else if (dtype == DType::kBF16)
        t.span<bf16>()[at] = to_bf16(x);
      else
        t.span<float>()[at] = x;
    }
    made_.push_back(std::move(t));
    view = made_.back().any();
  }

  const models::Blueprint& b_;
  Views views_;
  std::vector<Tensor> made_;
};

double loss_of(const Model& model, std::span<const Tokens> texts) {
  double sum = 0.0;
  for (const Tokens& text : texts) sum += judge(Baseline(model, copy_of(text)), Judge());
  return sum / static_cast<double>(texts.size());
}

}  // namespace

Regrouped regroup(const Model& model,
                  std::span<const Tokens> texts,
                  std::int64_t groups,
                  Merging how,
                  const std::filesystem::path& folder,
                  const Told& told) {
  if (texts.empty()) throw Error(ErrorCode::kInput, "[regroup] expected a text, found none");
  refuse(!model.generates(), "a model that foretells the next token", model.family());
  check(model.network().blueprint(), groups, how);
  NewFolder made(model.folder(), folder);
  const json::Value config = changed_config(made.path() / "config.json", groups);
  // A GGUF file lays rotary pairs otherwise than the folder that is written.
  std::optional<Model> own;
  if (made.converted()) own = Model::load(made.path().string());
  const Model& source = own ? *own : model;
  const models::Blueprint& b = source.network().blueprint();
  std::vector<Baseline> runs;
  for (const Tokens& text : texts) runs.emplace_back(source, copy_of(text));
  const Safetensors weights = made.weights();
  File file(b, Views(weights.tensors().begin(), weights.tensors().end()));
  Regrouped out;
  Kept values, keys;
  for (int l = 0; l < source.layers(); ++l) {
    const models::LayerFacts& facts = b.layers[static_cast<std::size_t>(l)];
    const models::AttentionFacts& a = facts.attention;
    out.before = a.groups;
    const auto named = [&](const std::string& name) { return facts.prefix + name; };
    LayerWeights w{file.read(named(a.query)),
                   file.read(named(a.key)),
                   file.read(named(a.value)),
                   file.read(named(a.output))};
    const auto moments = moments_of(runs, l, groups, a.groups / groups);
    Layer layer(source.attention(l), groups, w);
    for (std::int64_t j = 0; j < groups; ++j) {
      const Moments& at = moments[static_cast<std::size_t>(j)];
      if (how == Merging::kMean)
        layer.mean(j, at, values, keys);
      else
        layer.fit(j, at, values, keys);
    }
    layer.finish();
    file.write(named(a.query), w.q);
    file.write(named(a.key), w.k);
    file.write(named(a.value), w.v);
    file.write(named(a.output), w.o);
    if (told) told(l + 1, source.layers());
  }
  out.values_kept = values.whole > 0.0 ? values.part / values.whole : 1.0;
  out.keys_kept = keys.whole > 0.0 ? keys.part / keys.whole : 1.0;
  out.loss_before = loss_of(model, texts);
  write_safetensors(made.path() / "model.safetensors", file.views(), {{"format", "pt"}});
  write_file(made.path() / "config.json", std::string_view(config.dump(2) + '\n'));
  out.loss_after = loss_of(Model::load(made.path().string()), texts);
  made.finish();
  return out;
}

}  // namespace headscope::doctor
