#include "doctor/merge_groups.h"

#include <Eigen/Eigenvalues>
#include <algorithm>
#include <array>
#include <cmath>
#include <complex>
#include <numeric>
#include <span>

namespace headscope::doctor {

namespace {

using Eigen::Index;
using Groups = std::span<const std::int64_t>;

Matrix numbers_of(const Tensor& heads) {
  const auto from = heads.view<float, 4>();
  const std::int64_t G = from.shape[1], T = from.shape[2], width = from.shape[3];
  Matrix out(T, G * width);
  for (std::int64_t g = 0; g < G; ++g) {
    for (std::int64_t i = 0; i < T; ++i) {
      for (std::int64_t d = 0; d < width; ++d)
        out(i, g * width + d) = static_cast<double>(from(0, g, i, d));
    }
  }
  return out;
}

using Pair = std::pair<std::int64_t, std::int64_t>;

// Pairs of numbers of a head that turn together, and those that stay.
struct Turning {
  std::vector<Pair> pairs;
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

// The numbers at `where` of some groups of `width`, side by side.
Matrix part_of(const Matrix& moments, Groups set, std::int64_t width, Groups where) {
  const auto n = static_cast<Index>(where.size()), m = static_cast<Index>(set.size());
  const auto at = [&](Index i) {
    return set[static_cast<std::size_t>(i / n)] * width + where[static_cast<std::size_t>(i % n)];
  };
  Matrix out(m * n, m * n);
  for (Index i = 0; i < m * n; ++i) {
    for (Index j = 0; j < m * n; ++j) out(i, j) = moments(at(i), at(j));
  }
  return out;
}

// y of n numbers stands for x of m groups of n: y = in x, and x ~ out y. x^T W x is what counts, W one block a group.
struct Fit {
  Matrix in, out;  // [n, m n], [m n, n]
};

// W and its roots with a floor, so that nothing is divided by 0.
struct Roots {
  Matrix root, inverse;
};
Roots roots_of(const Matrix& w, double floor) {
  const Eigen::SelfAdjointEigenSolver<Matrix> solved(w);
  const Eigen::VectorXd sizes = (solved.eigenvalues().array().max(0.0) + floor).sqrt();
  const Matrix& turn = solved.eigenvectors();
  return {turn * sizes.asDiagonal() * turn.transpose(),
          turn * sizes.cwiseInverse().asDiagonal() * turn.transpose()};
}

// Mean size of W's diagonal: what weights are measured by, so that keys and values keep their size.
double mean_weight(std::span<const Matrix> weights) {
  double sum = 0.0;
  for (const Matrix& w : weights) sum += w.trace() / static_cast<double>(w.rows());
  return sum > 0.0 ? sum / static_cast<double>(weights.size()) : 1.0;
}

constexpr double kFloor = 1e-9;  // of the mean weight

double total(const Matrix& moments, std::span<const Matrix> weights) {
  double sum = 0.0;
  Index at = 0;
  for (const Matrix& w : weights) {
    sum += moments.block(at, at, w.rows(), w.rows()).cwiseProduct(w).sum();
    at += w.rows();
  }
  return sum;
}

// The least squares: principal directions of root(W) x (Eckart & Young 1936).
Fit principal(const Matrix& moments, std::span<const Matrix> weights, KeptPart& kept) {
  const Index n = weights.front().rows(), m = static_cast<Index>(weights.size());
  const double unit = mean_weight(weights);
  std::vector<Roots> roots;
  Matrix weighed(m * n, m * n);
  for (const Matrix& w : weights) roots.push_back(roots_of(w / unit, kFloor));
  for (Index g = 0; g < m; ++g) {
    for (Index h = 0; h < m; ++h)
      weighed.block(g * n, h * n, n, n) = roots[static_cast<std::size_t>(g)].root *
                                          moments.block(g * n, h * n, n, n) *
                                          roots[static_cast<std::size_t>(h)].root;
  }
  const Eigen::SelfAdjointEigenSolver<Matrix> solved(weighed);  // rising
  kept.part += unit * solved.eigenvalues().tail(n).cwiseMax(0.0).sum();
  kept.whole += unit * weighed.trace();
  const Matrix p = solved.eigenvectors().rightCols(n);
  Fit fit{Matrix(n, m * n), Matrix(m * n, n)};
  for (Index g = 0; g < m; ++g) {
    const Roots& own = roots[static_cast<std::size_t>(g)];
    fit.in.middleCols(g * n, n) = p.middleRows(g * n, n).transpose() * own.root;
    fit.out.middleRows(g * n, n) = own.inverse * p.middleRows(g * n, n);
  }
  return fit;
}

// The same of one complex number a group, a + ib of each; weights are plain numbers.
struct Turn {
  Eigen::VectorXcd in, out;  // y = sum in_g x_g, x_g ~ out_g y
};
Turn principal_turn(const Matrix& moments, const Eigen::VectorXd& weights, KeptPart& kept) {
  const Index m = weights.size();
  const double unit = weights.sum() > 0.0 ? weights.mean() : 1.0;
  const Eigen::VectorXd root = (weights / unit).array().max(kFloor).sqrt();
  Eigen::MatrixXcd own(m, m);
  for (Index g = 0; g < m; ++g) {
    for (Index h = 0; h < m; ++h)
      own(g, h) = root(g) * root(h) *
                  std::complex<double>(moments(2 * g, 2 * h) + moments(2 * g + 1, 2 * h + 1),
                                       moments(2 * g + 1, 2 * h) - moments(2 * g, 2 * h + 1));
  }
  const Eigen::SelfAdjointEigenSolver<Eigen::MatrixXcd> solved(own);
  kept.part += unit * std::max(0.0, solved.eigenvalues()(m - 1));
  kept.whole += unit * own.trace().real();
  const Eigen::VectorXcd p = solved.eigenvectors().col(m - 1);
  return {p.conjugate().cwiseProduct(root.cast<std::complex<double>>()),
          p.cwiseQuotient(root.cast<std::complex<double>>())};
}

// What is kept when each group becomes their mean.
void keep_mean(const Matrix& moments, std::span<const Matrix> weights, KeptPart& kept) {
  const Index n = weights.front().rows(), m = static_cast<Index>(weights.size());
  Matrix apart = Matrix::Identity(m * n, m * n);
  for (Index g = 0; g < m; ++g) {
    for (Index h = 0; h < m; ++h)
      apart.block(g * n, h * n, n, n).diagonal().array() -= 1.0 / static_cast<double>(m);
  }
  const double whole = total(moments, weights);
  kept.whole += whole;
  kept.part += whole - total(apart * moments * apart.transpose(), weights);
}

std::vector<std::int64_t> counted(std::int64_t n) {
  std::vector<std::int64_t> out(static_cast<std::size_t>(n));
  std::iota(out.begin(), out.end(), std::int64_t{0});
  return out;
}

// One layer: its moments, and what its groups' numbers weigh.
class Layer {
 public:
  Layer(const AttentionWeights& w, const Moments& moments, const LayerWeights& weights)
      : G_(w.groups),
        D_(w.width),
        Dv_(w.value_width),
        heads_(w.heads / w.groups),
        turning_(turning_of(w.rotary, w.width)),
        all_(counted(Dv_)),
        moments_(moments) {
    for (std::int64_t g = 0; g < G_; ++g) {
      Matrix output = Matrix::Zero(Dv_, Dv_);
      for (std::int64_t h = g * heads_; h < (g + 1) * heads_; ++h) {
        const auto own = weights.o.middleCols(h * Dv_, Dv_);
        output.noalias() += own.transpose() * own;
      }
      of_values_.push_back(std::move(output));
      of_keys_.push_back(of_keys(moments.queries[static_cast<std::size_t>(g)]));
    }
  }

  // What merging two groups loses, as a share of the layer.
  Matrix apart(Merging how) const {
    const std::vector<std::int64_t> every = counted(G_);
    const double values = total(moments_.values, of_values_);
    const double keys = total(moments_.keys, of_keys_);
    Matrix out = Matrix::Zero(G_, G_);
    for (std::int64_t g = 0; g < G_; ++g) {
      for (std::int64_t h = g + 1; h < G_; ++h) {
        const std::array<std::int64_t, 2> pair{g, h};
        KeptPart v, k;
        if (how == Merging::kMean) {
          mean(pair, v, k);
        } else {
          (void)fit_values(pair, v);
          for (const auto& turn : turning_.pairs) (void)fit_turn(pair, turn, k);
          if (!turning_.still.empty()) (void)fit_still(pair, k);
        }
        out(g, h) = out(h, g) = (values > 0.0 ? (v.whole - v.part) / values : 0.0) +
                                (keys > 0.0 ? (k.whole - k.part) / keys : 0.0);
      }
    }
    return out;
  }

  void mean(Groups set, KeptPart& values, KeptPart& keys) const {
    keep_mean(part_of(moments_.values, set, Dv_, all_), chosen(of_values_, set), values);
    keep_mean(part_of(moments_.keys, set, D_, counted(D_)), chosen(of_keys_, set), keys);
  }
  [[nodiscard]] Fit fit_values(Groups set, KeptPart& kept) const {
    return principal(part_of(moments_.values, set, Dv_, all_), chosen(of_values_, set), kept);
  }
  [[nodiscard]] Turn fit_turn(Groups set, const Pair& turn, KeptPart& kept) const {
    Eigen::VectorXd weights(static_cast<Index>(set.size()));
    for (std::size_t g = 0; g < set.size(); ++g)
      weights(static_cast<Index>(g)) =
          of_keys_[static_cast<std::size_t>(set[g])](turn.first, turn.first);
    return principal_turn(
        part_of(moments_.keys, set, D_, std::array{turn.first, turn.second}), weights, kept);
  }
  [[nodiscard]] Fit fit_still(Groups set, KeptPart& kept) const {
    std::vector<Matrix> weights;
    for (const Matrix& w : chosen(of_keys_, set)) weights.push_back(still_of(w));
    return principal(part_of(moments_.keys, set, D_, turning_.still), weights, kept);
  }

  [[nodiscard]] const Turning& turning() const { return turning_; }

 private:
  [[nodiscard]] Matrix still_of(const Matrix& from) const {
    const auto n = static_cast<Index>(turning_.still.size());
    Matrix out(n, n);
    for (Index i = 0; i < n; ++i) {
      for (Index j = 0; j < n; ++j)
        out(i, j) = from(turning_.still[static_cast<std::size_t>(i)],
                         turning_.still[static_cast<std::size_t>(j)]);
    }
    return out;
  }
  // |Re(conj(q) e)|^2 is half of |q|^2 |e|^2 when all angles are alike.
  [[nodiscard]] Matrix of_keys(const Matrix& queries) const {
    Matrix out = Matrix::Zero(D_, D_);
    for (const auto& [a, b] : turning_.pairs)
      out(a, a) = out(b, b) = (queries(a, a) + queries(b, b)) / 2.0;
    for (const std::int64_t i : turning_.still) {
      for (const std::int64_t j : turning_.still) out(i, j) = queries(i, j);
    }
    return out;
  }
  static std::vector<Matrix> chosen(const std::vector<Matrix>& from, Groups set) {
    std::vector<Matrix> out;
    for (const std::int64_t g : set) out.push_back(from[static_cast<std::size_t>(g)]);
    return out;
  }

  std::int64_t G_, D_, Dv_, heads_;
  Turning turning_;
  std::vector<std::int64_t> all_;
  const Moments& moments_;
  std::vector<Matrix> of_values_, of_keys_;
};

// The new weights, set by set.
class Rewritten {
 public:
  Rewritten(const AttentionWeights& w, std::int64_t groups, const LayerWeights& from)
      : D_(w.width),
        Dv_(w.value_width),
        heads_(w.heads / w.groups),
        from_(from),
        to_{Matrix(from.q.rows(), from.q.cols()),
            Matrix::Zero(groups * D_, from.k.cols()),
            Matrix::Zero(groups * Dv_, from.v.cols()),
            from.o} {}

  // Heads of group `old` become those of place `now`, as they are.
  void move(std::int64_t old, std::int64_t now) {
    to_.q.middleRows(now * heads_ * D_, heads_ * D_) =
        from_.q.middleRows(old * heads_ * D_, heads_ * D_);
    to_.o.middleCols(now * heads_ * Dv_, heads_ * Dv_) =
        from_.o.middleCols(old * heads_ * Dv_, heads_ * Dv_);
  }
  void mean(Groups set, std::int64_t j) {
    const auto m = static_cast<double>(set.size());
    for (const std::int64_t g : set) {
      to_.k.middleRows(j * D_, D_) += from_.k.middleRows(g * D_, D_) / m;
      to_.v.middleRows(j * Dv_, Dv_) += from_.v.middleRows(g * Dv_, Dv_) / m;
    }
  }
  void values(Groups set, std::int64_t j, const Fit& fit) {
    each_head(set, j, [&](Index g, std::int64_t h) {
      const Matrix own = to_.o.middleCols(h * Dv_, Dv_);
      to_.o.middleCols(h * Dv_, Dv_) = own * fit.out.middleRows(g * Dv_, Dv_);
    });
    for (std::size_t g = 0; g < set.size(); ++g)
      to_.v.middleRows(j * Dv_, Dv_) += fit.in.middleCols(static_cast<Index>(g) * Dv_, Dv_) *
                                        from_.v.middleRows(set[g] * Dv_, Dv_);
  }
  // k' = sum in_g k_g; q . (out_g k') = (conj(out_g) q) . k'.
  void turn(Groups set, std::int64_t j, const Pair& pair, const Turn& fit) {
    const std::int64_t a = pair.first, b = pair.second;
    const auto times = [](std::complex<double> p, auto x, auto y, auto&& to_x, auto&& to_y) {
      to_x = p.real() * x - p.imag() * y;
      to_y = p.real() * y + p.imag() * x;
    };
    for (std::size_t g = 0; g < set.size(); ++g) {
      Matrix x, y;
      times(fit.in(static_cast<Index>(g)),
            Matrix(from_.k.row(set[g] * D_ + a)),
            Matrix(from_.k.row(set[g] * D_ + b)),
            x,
            y);
      to_.k.row(j * D_ + a) += x;
      to_.k.row(j * D_ + b) += y;
    }
    each_head(set, j, [&](Index g, std::int64_t h) {
      times(std::conj(fit.out(g)),
            Matrix(to_.q.row(h * D_ + a)),
            Matrix(to_.q.row(h * D_ + b)),
            to_.q.row(h * D_ + a),
            to_.q.row(h * D_ + b));
    });
  }
  void still(Groups set, std::int64_t j, Groups where, const Fit& fit) {
    const auto n = static_cast<Index>(where.size());
    const auto rows_of = [&](const Matrix& from, std::int64_t first) {
      Matrix out(n, from.cols());
      for (Index d = 0; d < n; ++d)
        out.row(d) = from.row(first + where[static_cast<std::size_t>(d)]);
      return out;
    };
    Matrix key = Matrix::Zero(n, from_.k.cols());
    for (std::size_t g = 0; g < set.size(); ++g)
      key += fit.in.middleCols(static_cast<Index>(g) * n, n) * rows_of(from_.k, set[g] * D_);
    for (Index d = 0; d < n; ++d)
      to_.k.row(j * D_ + where[static_cast<std::size_t>(d)]) = key.row(d);
    each_head(set, j, [&](Index g, std::int64_t h) {
      const Matrix turned = fit.out.middleRows(g * n, n).transpose() * rows_of(to_.q, h * D_);
      for (Index d = 0; d < n; ++d)
        to_.q.row(h * D_ + where[static_cast<std::size_t>(d)]) = turned.row(d);
    });
  }
  LayerWeights take() { return std::move(to_); }

 private:
  // f(place in the set, new head)
  template <typename F>
  void each_head(Groups set, std::int64_t j, F&& f) const {
    const auto m = static_cast<std::int64_t>(set.size());
    for (std::int64_t g = 0; g < m; ++g) {
      for (std::int64_t h = (j * m + g) * heads_; h < (j * m + g + 1) * heads_; ++h) f(g, h);
    }
  }

  std::int64_t D_, Dv_, heads_;
  const LayerWeights& from_;
  LayerWeights to_;
};

}  // namespace

Moments moments_of(const std::vector<Baseline>& runs, int layer) {
  Moments out;
  for (const Baseline& run : runs) {
    const AttentionTrace trace = run.trace(layer);
    const Matrix v = numbers_of(trace.v), k = numbers_of(trace.k), q = numbers_of(trace.q);
    const Index G = trace.k.dim(1), D = trace.k.dim(3), heads = trace.q.dim(1) / G;
    if (out.values.size() == 0) {
      out.values = Matrix::Zero(v.cols(), v.cols());
      out.keys = Matrix::Zero(k.cols(), k.cols());
      out.queries.assign(static_cast<std::size_t>(G), Matrix::Zero(D, D));
    }
    out.values.noalias() += v.transpose() * v;
    out.keys.noalias() += k.transpose() * k;
    for (Index h = 0; h < trace.q.dim(1); ++h) {
      const auto own = q.middleCols(h * D, D);
      out.queries[static_cast<std::size_t>(h / heads)].noalias() += own.transpose() * own;
    }
  }
  return out;
}

std::vector<std::int64_t> arrange(const Matrix& apart, std::int64_t size) {
  const std::int64_t n = apart.rows();
  std::vector<std::int64_t> at = counted(n);  // who is in which place
  const auto who = [&](std::int64_t place) { return at[static_cast<std::size_t>(place)]; };
  // What the one in `place` is apart from others in the set of `there`, the one in place `but` left out.
  const auto cost = [&](std::int64_t place, std::int64_t there, std::int64_t but) {
    double sum = 0.0;
    for (std::int64_t p = there / size * size; p < (there / size + 1) * size; ++p) {
      if (p != but && p != place) sum += apart(who(place), who(p));
    }
    return sum;
  };
  for (bool better = true; better;) {
    better = false;
    for (std::int64_t a = 0; a < n; ++a) {
      for (std::int64_t b = (a / size + 1) * size; b < n; ++b) {
        const double now = cost(a, a, a) + cost(b, b, b);
        if (cost(a, b, b) + cost(b, a, a) < now - 1e-9 * (1.0 + now)) {
          std::swap(at[static_cast<std::size_t>(a)], at[static_cast<std::size_t>(b)]);
          better = true;
        }
      }
    }
  }
  std::vector<std::vector<std::int64_t>> sets;
  for (std::int64_t first = 0; first < n; first += size) {
    sets.emplace_back(at.begin() + first, at.begin() + first + size);
    std::sort(sets.back().begin(), sets.back().end());
  }
  std::sort(sets.begin(), sets.end());
  at.clear();
  for (const auto& set : sets) at.insert(at.end(), set.begin(), set.end());
  return at;
}

Merged merge_groups(const AttentionWeights& w,
                    const Moments& moments,
                    const MergeOptions& options,
                    LayerWeights& weights) {
  const std::int64_t m = w.groups / options.groups;
  const Layer layer(w, moments, weights);
  Merged done;
  done.order = options.arranged && options.groups > 1 ? arrange(layer.apart(options.how), m)
                                                      : counted(w.groups);
  Rewritten out(w, options.groups, weights);
  for (std::size_t n = 0; n < done.order.size(); ++n)
    out.move(done.order[n], static_cast<std::int64_t>(n));
  for (std::int64_t j = 0; j < options.groups; ++j) {
    const Groups set =
        Groups(done.order).subspan(static_cast<std::size_t>(j * m), static_cast<std::size_t>(m));
    if (options.how == Merging::kMean) {
      layer.mean(set, done.values, done.keys);
      out.mean(set, j);
      continue;
    }
    out.values(set, j, layer.fit_values(set, done.values));
    for (const auto& turn : layer.turning().pairs)
      out.turn(set, j, turn, layer.fit_turn(set, turn, done.keys));
    if (!layer.turning().still.empty())
      out.still(set, j, layer.turning().still, layer.fit_still(set, done.keys));
  }
  weights = out.take();
  return done;
}

}  // namespace headscope::doctor
