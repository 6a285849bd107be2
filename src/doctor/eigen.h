#pragma once

#include <complex>
#include <span>
#include <vector>

namespace headscope::doctor {

/// Eigenvalues of a real matrix [n,n], in no order.
/// Cost  about 25 n^3 flop.  Source  Hessenberg form, then complex QR steps by Givens rotations with Wilkinson's shift
/// (Golub & Van Loan, Matrix Computations, s7.4-7.5). Errors: kInput for numbers that are not finite.
std::vector<std::complex<double>> eigenvalues(std::span<const double> matrix, std::size_t n);

}  // namespace headscope::doctor
