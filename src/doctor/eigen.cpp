#include "doctor/eigen.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "headscope/error.h"

namespace headscope::doctor {

namespace {

using Complex = std::complex<double>;

class Square {
 public:
  Square(std::span<const double> numbers, std::size_t n)
      : n_(n), a_(numbers.begin(), numbers.end()) {}
  Complex& operator()(std::size_t i, std::size_t j) { return a_[i * n_ + j]; }
  [[nodiscard]] std::size_t size() const { return n_; }

 private:
  std::size_t n_;
  std::vector<Complex> a_;
};

// Zeros below the first subdiagonal, by elimination with the largest pivot: similar to what it was.
void to_hessenberg(Square& a) {
  const std::size_t n = a.size();
  for (std::size_t k = 1; k + 1 < n; ++k) {
    std::size_t pivot = k;
    for (std::size_t i = k + 1; i < n; ++i) {
      if (std::abs(a(i, k - 1)) > std::abs(a(pivot, k - 1))) pivot = i;
    }
    if (a(pivot, k - 1) == 0.0) continue;
    if (pivot != k) {
      for (std::size_t j = 0; j < n; ++j) std::swap(a(pivot, j), a(k, j));
      for (std::size_t i = 0; i < n; ++i) std::swap(a(i, pivot), a(i, k));
    }
    for (std::size_t i = k + 1; i < n; ++i) {
      const Complex factor = a(i, k - 1) / a(k, k - 1);
      if (factor == 0.0) continue;
      for (std::size_t j = k - 1; j < n; ++j) a(i, j) -= factor * a(k, j);
      for (std::size_t j = 0; j < n; ++j) a(j, k) += factor * a(j, i);
    }
  }
}

// The eigenvalue of the last 2 x 2 block of [.., end] that is nearer to its corner.
Complex wilkinson(Square& a, std::size_t end) {
  const Complex d = a(end, end);
  const Complex half = (a(end - 1, end - 1) - d) / 2.0;
  const Complex bc = a(end - 1, end) * a(end, end - 1);
  const Complex root = std::sqrt(half * half + bc);
  const Complex far = std::abs(half + root) > std::abs(half - root) ? half + root : half - root;
  return far == 0.0 ? d : d - bc / far;
}

// One step A = R Q + shift, where Q R = A - shift, on rows and columns [begin, end].
void step(Square& a, std::size_t begin, std::size_t end, Complex shift) {
  std::vector<Complex> cosines(end - begin), sines(end - begin);
  for (std::size_t i = begin; i <= end; ++i) a(i, i) -= shift;
  for (std::size_t k = begin; k < end; ++k) {
    const Complex x = a(k, k), y = a(k + 1, k);
    const double length = std::hypot(std::abs(x), std::abs(y));
    const Complex c = length == 0.0 ? 1.0 : x / length;
    const Complex s = length == 0.0 ? 0.0 : y / length;
    cosines[k - begin] = c;
    sines[k - begin] = s;
    for (std::size_t j = k; j <= end; ++j) {
      const Complex u = a(k, j), v = a(k + 1, j);
      a(k, j) = std::conj(c) * u + std::conj(s) * v;
      a(k + 1, j) = c * v - s * u;
    }
  }
  for (std::size_t k = begin; k < end; ++k) {
    const Complex c = cosines[k - begin], s = sines[k - begin];
    for (std::size_t i = begin; i <= std::min(k + 1, end); ++i) {
      const Complex u = a(i, k), v = a(i, k + 1);
      a(i, k) = c * u + s * v;
      a(i, k + 1) = std::conj(c) * v - std::conj(s) * u;
    }
  }
  for (std::size_t i = begin; i <= end; ++i) a(i, i) += shift;
}

}  // namespace

std::vector<Complex> eigenvalues(std::span<const double> matrix, std::size_t n) {
  if (matrix.size() != n * n ||
      !std::all_of(matrix.begin(), matrix.end(), [](double x) { return std::isfinite(x); }))
    throw Error(ErrorCode::kInput, "[eigenvalues] expected a square matrix of finite numbers");
  Square a(matrix, n);
  to_hessenberg(a);
  double norm = 0.0;
  for (std::size_t i = 0; i < n; ++i) {
    for (std::size_t j = 0; j < n; ++j) norm = std::max(norm, std::abs(a(i, j)));
  }
  constexpr double kEps = std::numeric_limits<double>::epsilon();
  constexpr int kMost = 300;  // steps an eigenvalue; a few are enough
  std::size_t end = n;
  for (int steps = 0; end > 1;) {
    std::size_t begin = end - 1;
    for (; begin > 0; --begin) {
      const double near = std::abs(a(begin, begin)) + std::abs(a(begin - 1, begin - 1));
      if (std::abs(a(begin, begin - 1)) <= kEps * (near > 0.0 ? near : norm)) break;
    }
    if (begin == end - 1 || steps > kMost) {
      --end;
      steps = 0;
      continue;
    }
    // Every tenth step leaves the path, in case the shift goes round in circles.
    const Complex shift = ++steps % 10 == 0
                              ? a(end - 1, end - 1) + 0.75 * std::abs(a(end - 1, end - 2))
                              : wilkinson(a, end - 1);
    step(a, begin, end - 1, shift);
  }
  std::vector<Complex> out(n);
  for (std::size_t i = 0; i < n; ++i) out[i] = a(i, i);
  return out;
}

}  // namespace headscope::doctor
