# Both servers in one image; what they are configured with is proem's affair.
FROM php:8-fpm-alpine
RUN apk add --no-cache nginx
